"""Small clips whose every frame carries its own number as twelve black or white blocks."""

from fractions import Fraction

import av
import numpy as np

BLOCK = 32
ROWS, COLUMNS = 3, 4
HEIGHT, WIDTH = ROWS * BLOCK, COLUMNS * BLOCK

# Seconds between frames of a clip with variable frame rate, in turn.
UNEVEN_S = (Fraction(1, 30), Fraction(1, 100), Fraction(1, 15), Fraction(1, 20))


def numbered_frame(number, height=HEIGHT, width=WIDTH):
    """uint8 RGB picture of a number below 4096."""
    frame = np.full((height, width, 3), 128, np.uint8)
    for bit in range(ROWS * COLUMNS):
        y, x = (part * BLOCK for part in divmod(bit, COLUMNS))
        frame[y : y + BLOCK, x : x + BLOCK] = 230 if number >> bit & 1 else 20
    return frame


def number_of(frame):
    """The number that a decoded picture carries."""
    blocks = (
        frame[:HEIGHT, :WIDTH].mean(axis=2).reshape(ROWS, BLOCK, COLUMNS, BLOCK)[:, 8:24, :, 8:24].mean(axis=(1, 3))
    )
    return int(sum(1 << bit for bit, bright in enumerate(blocks.ravel() > 128) if bright))


def make_clip(
    path,
    count=60,
    *,
    codec="libx264",
    options=None,
    uneven=False,
    pixels="yuv420p",
    height=HEIGHT,
    width=WIDTH,
    container_format=None,
    rotation=None,
    matrix=None,
    muxer_options=None,
):
    """Encode frames 0..count-1."""
    with av.open(str(path), "w", format=container_format, options=muxer_options or {}) as container:
        stream = container.add_stream(codec, rate=30, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = Fraction(1, 900)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        time = Fraction(0)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, height, width), format="rgb24")
            frame.time_base, frame.pts = Fraction(1, 900), int(time * 900)
            time += UNEVEN_S[number % 4] if uneven else Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def copy_packets(source, target, *, change=None, extra_packets=0, muxer_options=None):
    """Copy a clip's packets without decoding; ``change(packet)`` may shift times or return False to drop it."""
    with av.open(str(source)) as given, av.open(str(target), "w", options=muxer_options or {}) as made:
        stream_in = given.streams.video[0]
        stream_out = made.add_stream_from_template(stream_in)
        last_pts = 0
        for packet in given.demux(stream_in):
            if packet.dts is None or (change is not None and change(packet) is False):
                continue
            last_pts, duration, time_base = max(last_pts, packet.pts), packet.duration, packet.time_base
            packet.stream = stream_out
            made.mux(packet)
        for extra in range(extra_packets):  # an access unit delimiter only: a packet without a picture
            packet = av.Packet(b"\x00\x00\x00\x02\x09\xf0")
            packet.stream, packet.time_base = stream_out, time_base
            packet.pts = packet.dts = last_pts + duration * (extra + 1)
            packet.duration = duration
            made.mux(packet)
    return target


def cut_from_frame(source, target, frame, keyframe):
    """A cut as editors make it without encoding again: packets from a keyframe on, an edit list hides the first."""

    def shift(packet):
        if packet.pts * packet.time_base < Fraction(keyframe, 30):
            return False
        offset = int(Fraction(frame, 30) / packet.time_base)
        packet.pts -= offset
        packet.dts -= offset
        return True

    return copy_packets(source, target, change=shift)


def packet_places(path):
    """(offset, size) of every packet in the file, in stored order."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def cut_file(source, target, keep_bytes):
    """The first bytes of a file."""
    target.write_bytes(source.read_bytes()[:keep_bytes])
    return target
