"""Why a row looks as it does: `facts` of one snapshot of control, the station and the journal; its versions in order
(`story`); who won and what waits (`verdict`), pure.

It writes nothing and needs no lease. Begin with `explain`."""
