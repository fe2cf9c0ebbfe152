"""The parts of scripts/collect_corpus.py: packages.py downloads, readers.py and render.py turn what
is inside into plain text, clean.py removes duplicates and splits, domains.py is the table of sources."""
