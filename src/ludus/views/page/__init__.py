"""The page of `ludus serve`: runs, and of each run the room, learning, skills, episodes and cost, live and after the fact.

`place` finds and opens runs, `content` fills templates with the plain data of queries, `film` draws episodes, `guard` says who
may look, `server` joins them with NiceGUI. Everything but `server` works without NiceGUI. What is looked for stands in the
page's address, so that it can be passed on. A run is only read, but for what a person says in its room.
"""
