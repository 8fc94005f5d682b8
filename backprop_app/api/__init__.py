"""Plain HTTP for scripts: health and read access to runs. Mounted beside the pages, behind the same gate."""
