"""Claims of section 4.2 and appendix C.2: randomly reordered tokens.

`premises`: of the argument, about patches, the flow and MambaVision-T. `collapse`: what orders do
in the flow, to where tokens meet and how fast. `tables`: what the published numbers show. `runs`:
what our own runs do.
"""
