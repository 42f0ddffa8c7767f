"""Crawl: from seeds, archives or files to raw pages in WARC files."""
