"""python -m tokensphere.paper.laboratory writes the presets of the laboratory's page."""

from . import FILE, text

if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
    print(FILE)
