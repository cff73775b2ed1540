"""What `ludus mcp` offers: a door through which a coding agent plays the experimenter of one run. `door.py` says what an agent
may see and say, as plain data; `server.py` is the protocol. The run is only read, but for answers and remarks.
"""
