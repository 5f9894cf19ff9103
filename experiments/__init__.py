"""The commands of mcjax: flags, run folders, progress and figures."""
