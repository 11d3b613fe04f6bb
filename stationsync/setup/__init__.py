"""What makes a pair known: our tables made (`initialise`), rows that were there before taken over (`adopt`), a
station under another name (`rename`), codes for what an older version kept without them (`reason_codes`), another
filter of its rows (`row_filters`).

Begin with `initialise`."""
