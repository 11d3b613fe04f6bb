"""A fleet to play with, on this machine: `stationsync up` and `stationsync down`.

It is made of parts, each a process of its own that outlives the command: control and three stations (`site`: a database
with an application that keeps writing there), a Prefect server, a worker, and a receiver of alerts. All that they keep
is in one folder. Every process of it carries a mark in its environment, so that `down` finds what is left of it
whatever was killed."""
