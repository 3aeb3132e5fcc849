"""Records -> lines of text for people. Nothing here prints, colours or knows how wide a terminal is.

Where a function takes `width`, lines are cut to that many columns; None leaves them whole, as it has to be
where a machine may read them.
"""
