"""Drawings: facts as charts of Vega-Lite and as HTML. One function per drawing; `page` makes a page of them.

The charts are plain Vega-Lite, because importing Altair takes more than a second in each run. The tests validate each
of them by Altair's schema.
"""
