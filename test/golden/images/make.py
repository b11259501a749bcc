"""Makes the pictures in this folder and images.json: what Pillow decodes them to.

    python3 -m venv v && v/bin/pip install pillow==12.3.0 && v/bin/python make.py

Every expectation is Pillow's own: Image.open, ImageOps.exif_transpose, convert("RGB"), tobytes.
"""
import hashlib
import io
import json
import os
import random
import struct
import zlib

import PIL
from PIL import Image, ImageDraw, ImageOps

HERE = os.path.dirname(os.path.abspath(__file__))
W, H = 45, 31


def picture(width=W, height=H, mode="RGB"):
    """Gradients, edges and a little noise, different along both axes."""
    rng = random.Random(7)
    image = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            noise = rng.randrange(24)
            image.putpixel((x, y), ((x * 5 + noise) % 256, (y * 8 + noise) % 256, ((x + y) * 3 + noise) % 256))
    draw = ImageDraw.Draw(image)
    draw.rectangle([3, 3, 14, 9], fill=(250, 20, 30))
    draw.ellipse([width - 18, height - 14, width - 3, height - 3], fill=(10, 200, 240))
    return image if mode == "RGB" else image.convert(mode)


def alpha(width=W, height=H):
    mask = Image.new("L", (width, height))
    for y in range(height):
        for x in range(width):
            mask.putpixel((x, y), 0 if x < 6 else (x * 6 + y) % 256)
    return mask


def rgba():
    image = picture()
    image.putalpha(alpha())
    return image


def exif(orientation, order="<"):
    head = b"II*\0" if order == "<" else b"MM\0*"
    ifd = struct.pack(order + "IH", 8, 2)
    ifd += struct.pack(order + "HHIHH", 0x0100, 3, 1, 45, 0)
    ifd += struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + head + ifd + struct.pack(order + "I", 0)


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, color, rows, extra=b"", interlace=0):
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra
            + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def interlaced_png():
    image = picture()
    rows = b""
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        for y in range(y0, H, dy):
            rows += b"\0" + b"".join(bytes(image.getpixel((x, y))) for x in range(x0, W, dx))
    return png(W, H, 8, 2, rows, interlace=1)


def deep_png(color):
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    rng = random.Random(9)
    rows = b""
    for y in range(H):
        rows += b"\0" + b"".join(struct.pack(">H", (x * 1400 + y * 300 + c * 9000 + rng.randrange(999)) % 65536)
                                 for x in range(W) for c in range(channels))
    return png(W, H, 16, color, rows)


def gray_bits_png(depth):
    rows = b""
    per_byte = 8 // depth
    for y in range(H):
        values = [(x + y) % (1 << depth) for x in range(W)] + [0] * 8
        row = bytearray()
        for start in range(0, W, per_byte):
            byte = 0
            for k in range(per_byte):
                byte = byte << depth | values[start + k]
            row.append(byte)
        rows += b"\0" + bytes(row)
    return png(W, H, depth, 0, rows)


def animated_png():
    frames = [picture(), picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    return encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=100)


def ycck(data):
    """Says in the Adobe segment that the four components are YCCK."""
    at = data.index(b"Adobe")
    return data[:at + 11] + b"\x02" + data[at + 12:]


def lzw(indices, bits):
    """GIF's LZW without any compression: a clear code before the table can grow."""
    clear, size, out, pending, filled, since = 1 << bits, bits + 1, bytearray(), 0, 0, 0

    def put(code):
        nonlocal pending, filled
        pending |= code << filled
        filled += size
        while filled >= 8:
            out.append(pending & 255)
            pending >>= 8
            filled -= 8

    put(clear)
    for index in indices:
        put(index)
        since += 1
        if since == clear - 2:
            put(clear)
            since = 0
    put(clear + 1)
    if filled:
        out.append(pending & 255)
    blocks = bytearray([bits])
    for start in range(0, len(out), 255):
        part = out[start:start + 255]
        blocks += bytes([len(part)]) + part
    return bytes(blocks) + b"\0"


def gif(frame_at, frame_size, transparent=None, local=False, interlace=False, canvas=(W, H)):
    palette = b"".join(bytes([(i * 37) % 256, (i * 91 + 40) % 256, 255 - i * 15]) for i in range(16))
    other = b"".join(bytes([255 - i * 9, i * 16, (i * 53) % 256]) for i in range(16))
    width, height = frame_size
    indices = [(x // 3 + y * 2) % 16 for y in range(height) for x in range(width)]
    if interlace:
        order = [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4), *range(1, height, 2)]
        indices = [indices[y * width + x] for y in order for x in range(width)]
    data = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x80 | 3, 5, 0) + palette
    data += b"!\xfe\x05hello\0"
    flags = 1 if transparent is not None else 0
    data += b"!\xf9\x04" + struct.pack("<BHB", flags, 10, transparent or 0) + b"\0"
    data += b"," + struct.pack("<HHHHB", *frame_at, width, height, (0x80 | 3 if local else 0) | (0x40 if interlace else 0))
    return data + (other if local else b"") + lzw(indices, 4) + b";"


def animated_gif():
    frames = [picture().quantize(32), picture().transpose(Image.Transpose.FLIP_TOP_BOTTOM).quantize(32)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=80, loop=0)


palette = picture().quantize(20)
files = {
    "baseline.jpg": encoded(picture(), "JPEG", quality=85),
    "full-chroma.jpg": encoded(picture(), "JPEG", quality=90, subsampling=0),
    "half-chroma.jpg": encoded(picture(), "JPEG", quality=90, subsampling=1),
    "progressive.jpg": encoded(picture(), "JPEG", quality=80, progressive=True),
    "one-pixel.jpg": encoded(picture(20, 20).crop((4, 4, 5, 5)), "JPEG"),
    "restart-markers.jpg": encoded(picture(), "JPEG", restart_marker_blocks=2),
    "gray.jpg": encoded(picture(mode="L"), "JPEG"),
    "rgb-components.jpg": encoded(picture(), "JPEG", keep_rgb=True),
    "with-comment-and-profile.jpg": encoded(picture(), "JPEG", comment=b"\xff\xd9\xff\xc0", icc_profile=b"x" * 300),
    "cmyk.jpg": encoded(picture(mode="CMYK"), "JPEG", quality=95),
    "ycck.jpg": ycck(encoded(picture(mode="CMYK"), "JPEG", quality=95)),
    "rgb.png": encoded(picture(), "PNG"),
    "rgba.png": encoded(rgba(), "PNG"),
    "palette.png": encoded(palette, "PNG"),
    "palette-2-bits.png": encoded(picture().quantize(4), "PNG", bits=2),
    "palette-transparent.png": encoded(palette, "PNG", transparency=bytes([0, 90, 255, 30])),
    "rgb-transparent-color.png": encoded(picture(), "PNG", transparency=(250, 20, 30)),
    "gray.png": encoded(picture(mode="L"), "PNG"),
    "gray-alpha.png": encoded(picture(mode="L").convert("LA"), "PNG"),
    "gray-transparent.png": encoded(picture(mode="L"), "PNG", transparency=40),
    "gray-1-bit.png": gray_bits_png(1),
    "gray-2-bits.png": gray_bits_png(2),
    "gray-4-bits.png": gray_bits_png(4),
    "gray-16-bits.png": deep_png(0),
    "rgb-16-bits.png": deep_png(2),
    "gray-alpha-16-bits.png": deep_png(4),
    "rgba-16-bits.png": deep_png(6),
    "interlaced.png": interlaced_png(),
    "animated.png": animated_png(),
    "oriented.png": encoded(picture(), "PNG", exif=exif(8, ">")),
    "gamma.png": encoded(picture(), "PNG")[:33] + chunk(b"gAMA", struct.pack(">I", 100000)) + encoded(picture(), "PNG")[33:],
    "lossy.webp": encoded(picture(), "WEBP", quality=80),
    "lossless.webp": encoded(picture(), "WEBP", lossless=True),
    "lossy-alpha.webp": encoded(rgba(), "WEBP", quality=80),
    "lossless-alpha.webp": encoded(rgba(), "WEBP", lossless=True, exact=True),
    "oriented.webp": encoded(picture(), "WEBP", quality=80, exif=exif(6)),
    "animated.webp": encoded(picture(), "WEBP", save_all=True, append_images=[picture().rotate(180)], duration=90, quality=70),
    "animated-alpha.webp": encoded(rgba(), "WEBP", save_all=True, append_images=[rgba().rotate(180)], duration=90, lossless=True),
    "plain.gif": encoded(picture().quantize(32), "GIF"),
    "gray.gif": encoded(picture(mode="L"), "GIF"),
    "animated.gif": animated_gif(),
    "offset.gif": gif((7, 5), (20, 16)),
    "offset-transparent.gif": gif((7, 5), (20, 16), transparent=3),
    "local-palette.gif": gif((0, 0), (W, H), local=True),
    "interlaced.gif": gif((0, 0), (W, H), interlace=True),
    "frame-larger-than-canvas.gif": gif((3, 2), (40, 20), canvas=(20, 10)),
}
for value in range(1, 9):
    files[f"orientation-{value}.jpg"] = encoded(picture(), "JPEG", quality=75, exif=exif(value, "<>"[value % 2]))

expected = {}
for name, data in sorted(files.items()):
    with open(os.path.join(HERE, name), "wb") as file:
        file.write(data)
    image = Image.open(io.BytesIO(data))
    stored = image.size
    image = ImageOps.exif_transpose(image)
    if image.mode == "I;16":
        # Pillow clips 16-bit gray at 255, which makes nearly every picture white; ours keeps the
        # high byte, as Pillow does for every other 16-bit layout.
        high = bytes(v >> 8 for v in struct.unpack(f"<{image.width * image.height}H", image.tobytes()))
        image = Image.frombytes("L", image.size, high)
    image = image.convert("RGB")
    pixels = image.tobytes()
    expected[name] = {
        "stored": list(stored),
        "width": image.width,
        "height": image.height,
        "sha256": hashlib.sha256(pixels).hexdigest(),
        "first": list(pixels[:24]),
    }
    if "cmyk" in name or "ycck" in name:
        expected[name]["rgb"] = pixels.hex()

with open(os.path.join(HERE, "images.json"), "w") as file:
    source = f"make.py with Pillow {PIL.__version__}: exif_transpose, then convert('RGB')"
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in expected.items())
    file.write(f'{{\n "source": {json.dumps(source)},\n "images": {{\n{lines}\n }}\n}}\n')

# Shapes where a resize goes wrong first: up and down, one pixel, one axis kept, long filters.
shapes = [((1, 1), (7, 5)), ((2, 3), (1, 1)), ((5, 300), (224, 224)), ((300, 5), (224, 224)), ((224, 100), (224, 224)),
          ((100, 224), (224, 224)), ((897, 3), (896, 896)), ((1000, 40), (3, 56)), ((37, 61), (224, 224)), ((640, 480), (224, 224))]
resized = []
for (width, height), size in shapes:
    pixels = bytes((i * 2654435761 >> 7) % 256 for i in range(width * height * 3))
    image = Image.frombytes("RGB", (width, height), pixels).resize(size, Image.Resampling.BILINEAR)
    resized.append({"in": [width, height], "out": list(size), "sha256": hashlib.sha256(image.tobytes()).hexdigest()})
with open(os.path.join(HERE, "resized.json"), "w") as file:
    lines = ",\n".join("  " + json.dumps(case) for case in resized)
    file.write(f'{{\n "source": "make.py with Pillow {PIL.__version__}: Image.resize(BILINEAR), [width, height]",\n "cases": [\n{lines}\n ]\n}}\n')
