"""Is it any good? What measures images of any kind; the registry knows which module has what."""
