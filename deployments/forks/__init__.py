"""A worker whose runs begin at once: each is a fork of one process that has imported everything already.

A process worker of Prefect's starts two Python interpreters a run, which import for seconds before a row is read.
This is that worker, with another command to run: a small client (`client`) that asks the `zygote` for a fork, and
stands for it: it passes signals on, and ends as the fork ends. So cancelling, crashes and shut-down are Prefect's own,
and where no zygote answers the client runs the flow by itself.

Worker killed: its clients and their runs go on, as those of any process worker do; the zygote ends after the last.
Client killed: the zygote kills the fork. Fork killed: the client ends by the same signal. Zygote killed: its forks go
on, and the next run begins with a new one."""
