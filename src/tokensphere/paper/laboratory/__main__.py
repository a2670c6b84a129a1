"""python -m tokensphere.paper.laboratory writes the presets of the laboratory's page."""

from tokensphere.records import write_whole

from . import FILE, text

if __name__ == "__main__":
    with write_whole(FILE) as stream:
        stream.write(text().encode())
    print(FILE)
