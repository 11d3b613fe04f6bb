"""What makes a pair known: our tables made (`initialise`), rows that were there before taken over (`adopt`), a
station under another name (`rename`).

Begin with `initialise`."""
