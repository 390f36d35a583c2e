"""The page of ``jepa-t demo``: :mod:`.actions` is what a click does, :mod:`.page` what is where."""
