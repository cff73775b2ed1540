"""The page of `ludus serve`: runs, and of each run what it does now, the room, learning, skills, episodes and cost, live and
after the fact.

`folder` finds runs, `lines` lists them, `place` opens them and keeps what is asked again; `patience` bounds how long a database
is waited for. `runs` (all of them), `present` (the tab *Now*) and `content` (the other tabs) fill templates with
the plain data of queries, `film` draws episodes, `guard` says who may look and who may also speak. `server` joins them with
NiceGUI: `live` brings what is new, `pictures` are plain routes, `speech` takes what people say; nothing else needs NiceGUI.
`beside` starts a server beside a run. What is looked for stands in the page's address, so that it can be passed on. A run is only
read, but for what a person says in its room.
"""
