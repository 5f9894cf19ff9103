"""Files at object stores, ``gs://`` and ``s3://``; imported when `mcjax.paths` meets one.

The extra ``buckets`` installs what it needs.
"""
