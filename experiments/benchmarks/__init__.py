"""What the benchmark compares mcjax with."""
