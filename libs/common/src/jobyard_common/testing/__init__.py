"""What tests of every member use; product code never imports it."""
