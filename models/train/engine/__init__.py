"""The engine that trains every torch network. One file a concern; `loop.learn` is the way in.

`choices` says what runs on this machine and why; `data` holds rows where they are learnt from; `step` makes one step of
the optimiser out of them; `loop` makes epochs of steps; `callbacks` look on and may end them; `checkpoint` keeps what a
run needs to go on. Importing this package loads nothing; its files load torch.
"""
