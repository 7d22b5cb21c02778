"""Where builds run, behind one interface (base.py), with the agent that runs in all of them."""
