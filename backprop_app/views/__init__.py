"""Records of the services turned into the words and figures that a page shows. Pure: no I/O, no Reflex."""
