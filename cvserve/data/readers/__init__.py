"""Reads data sets as they are on disk: one module for each format or layout."""
