"""Checked configuration: YAML files read into typed objects."""
