"""What a video file's container says when every packet is looked at, and whether the file is whole."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import VideoError
from pipeline.video.cut_short import missing_tail
from pipeline.video.frames import VideoLimits
from pipeline.video.size_changes import CODECS, SizeWatch
from pipeline.video.sync_points import is_sync_packet

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

# Demuxers for real video files. Left out are the ones that read other files or addresses named inside the file
# (playlists, sdp, concat lists), so that a video from a stranger cannot make this process fetch things.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,h264,hevc,ivf,obu,m4v,mjpeg,mxf,nut,"
    "dv,rm,wtv,yuv4mpegpipe,jpeg_pipe,png_pipe,apng"
)
_OPEN_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}

# Containers that store a presentation time per packet and find keyframes exactly.
_INDEXED_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")

# What the mark "default" is worth in ffmpeg's choice of a stream (map_auto_video in ffmpeg_mux_init.c).
_DEFAULT_STREAM_PIXELS = 5_000_000

# Codecs of which every packet gives one frame. VP8 for one has packets that are never shown.
_ONE_FRAME_PER_PACKET = frozenset({"h264", "hevc", "vp9", "av1", "mjpeg", "prores", "dnxhd", "ffv1", "png"})


@dataclass(frozen=True, kw_only=True)
class ContainerFacts:
    """What was found by reading all packets of a video file."""

    count: int
    """Frames that come out when the file is played."""
    times_s: tuple[float, ...]
    """Presentation time of every frame, ascending; empty where the container's times cannot be relied on."""
    pts: tuple[int, ...]
    """The same in units of the stream's time base."""
    sync_frames: tuple[int, ...]
    """Positions of frames at which decoding can start, exact from there on; empty: only from the beginning."""
    is_plain: bool
    """Nothing about the file is known to mislead decord: one video stream, reliable times, no edit list that hides
    frames, every keyframe a sync point that ends what came before, one size from beginning to end."""


@dataclass(frozen=True, kw_only=True)
class _Packet:
    pts: int | None
    is_key: bool
    is_sync: bool
    is_hidden: bool
    is_corrupt: bool


@contextmanager
def open_container(path: str, location: str, **options: str) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """Open a local video file with FFmpeg and find its video stream.

    Args:
        path: Local path.
        location: What errors call the file.
        **options: Demuxer options.

    Raises:
        VideoError: If it is no video file, or anything FFmpeg raises inside the block.
    """
    import av

    try:
        with av.open(path, options={**_OPEN_OPTIONS, **options}) as container:
            yield container, video_stream(container, location)
    except av.error.FFmpegError as error:
        reason = missing_tail(path) or f"is not a readable video ({error.strerror})"
        raise VideoError(f"{location}: {reason}") from error
    except UnicodeDecodeError as error:  # PyAV reading garbage metadata
        raise VideoError(f"{location}: is not a readable video (its metadata is not text)") from error


def decoded_frames(
    container: "InputContainer", stream: "VideoStream", *, is_careful: bool = False
) -> Iterator["VideoFrame"]:
    """Decode on from where the container stands, passing over packets that the decoder refuses.

    Several threads decode several frames at once, and a refused packet then also costs frames before it.
    ``is_careful`` does one frame at a time, so that it costs only its own.
    """
    import av

    stream.thread_type = "SLICE" if is_careful else "AUTO"
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            continue  # the frame it would have given is missed by whoever counts on it


def video_stream(container: "InputContainer", location: str) -> "VideoStream":
    """The stream that ffmpeg shows: the one marked as default, else the one with most pixels; never cover art.

    Raises:
        VideoError: There is none, or no decoder for it.
    """
    streams = _moving_pictures(container)
    if not streams:
        raise VideoError(f"{location}: has no video stream")
    stream = max(streams, key=_stream_rank)
    if stream.codec_context is None:
        raise VideoError(f"{location}: no decoder for its video codec is installed")
    return stream


def _stream_rank(stream: "VideoStream") -> int:
    from av.stream import Disposition

    if stream.codec_context is None:
        return -1
    pixels = stream.codec_context.width * stream.codec_context.height
    return pixels + (_DEFAULT_STREAM_PIXELS if stream.disposition & Disposition.default else 0)


def _moving_pictures(container: "InputContainer") -> list["VideoStream"]:
    from av.stream import Disposition

    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]  # not cover art


def inspect_container(path: str, location: str, limits: VideoLimits, progress: Callable[[], None]) -> ContainerFacts:
    """Read all packets of a video file and judge what they say.

    Raises:
        VideoError: If the file is no video, is cut short, or is over ``limits``.
    """
    with open_container(path, location) as (container, stream):
        limits.check_size(stream.codec_context.width, stream.codec_context.height, location)
        declared = stream.frames
        format_name = container.format.name
        codec = stream.codec_context.codec.canonical_name
        time_base = stream.time_base
        single = len(_moving_pictures(container)) == 1
        sizes = SizeWatch(stream.codec_context)
        packets = _packets(container, stream, location, limits, progress, sizes)
    _check_whole(path, location, declared if format_name.startswith("mov") else 0, packets)

    shown = [packet for packet in packets if not packet.is_hidden]
    times = [packet.pts for packet in shown]
    pts = sorted(value for value in times if value is not None)
    reliable = (
        format_name in _INDEXED_FORMATS
        and codec in _ONE_FRAME_PER_PACKET
        and time_base is not None
        and len(pts) == len(packets) - sum(packet.is_hidden for packet in packets)
        and len(set(pts)) == len(pts)
        and bool(packets)
        and packets[0].is_sync
    )
    if not reliable or time_base is None:
        count = _count_by_decoding(path, location, limits, progress)
        return ContainerFacts(count=count, times_s=(), pts=(), sync_frames=(), is_plain=False)
    limits.check_count(len(pts), location)
    position = {value: index for index, value in enumerate(pts)}
    sync_frames = sorted(position[packet.pts] for packet in shown if packet.is_sync and packet.pts is not None)
    count = _count_at_end(path, location, pts, sync_frames[-1] if sync_frames else 0, progress)
    limits.check_count(count, location)
    return ContainerFacts(
        count=count,
        times_s=tuple(float(value * time_base) for value in pts[:count]),
        pts=tuple(pts[:count]),
        sync_frames=tuple(frame for frame in sync_frames if frame < count),
        is_plain=single
        and codec in CODECS
        and not sizes.has_change
        and count == len(packets)  # no packet is hidden, none comes to nothing
        and _count_closed(packets) == sum(packet.is_key for packet in packets),
    )


def _count_at_end(path: str, location: str, pts: list[int], sync_frame: int, progress: Callable[[], None]) -> int:
    """Frames that really come out, seen by decoding from the last sync point to the end.

    Some containers announce more frames than can be decoded, which is where decord hangs. A frame missing in the middle
    is not this function's business: it is damage, and an error when it is read.
    """
    for is_careful in (False, True):
        decoded: list[int] = []
        with open_container(path, location) as (container, stream):
            if sync_frame:
                container.seek(pts[sync_frame], stream=stream, backward=True)
            for frame in decoded_frames(container, stream, is_careful=is_careful):
                if frame.pts is not None and frame.pts >= pts[sync_frame]:
                    decoded.append(frame.pts)
                progress()
        if decoded == pts[sync_frame:]:
            return len(pts)
    if decoded == pts[sync_frame:][: len(decoded)]:
        count = sync_frame + len(decoded)
        logger.warning("%s: announces %d frames, only %d can be decoded", location, len(pts), count)
        return count
    return len(pts)


def _packets(
    container: "InputContainer",
    stream: "VideoStream",
    location: str,
    limits: VideoLimits,
    progress: Callable[[], None],
    sizes: SizeWatch,
) -> list[_Packet]:
    packets: list[_Packet] = []
    for packet in container.demux(stream):
        if not packet.size:
            continue
        sizes.look(packet)
        packets.append(
            _Packet(
                pts=packet.pts,
                is_key=packet.is_keyframe,
                is_sync=packet.is_keyframe and is_sync_packet(packet, stream.codec_context),
                is_hidden=packet.is_discard,
                is_corrupt=packet.is_corrupt,
            )
        )
        if len(packets) > limits.max_frames_in_video:
            limits.check_count(len(packets), location)
        if len(packets) % 256 == 0:
            progress()
    return packets


def _count_closed(packets: list[_Packet]) -> int:
    """Sync packets that no packet stored after them precedes on screen. decord seeks past any other kind."""
    closed = 0
    earliest_later: int | None = None
    for packet in reversed(packets):
        if packet.pts is None:
            continue
        if packet.is_sync and (earliest_later is None or packet.pts < earliest_later):
            closed += 1
        earliest_later = packet.pts if earliest_later is None else min(earliest_later, packet.pts)
    return closed


def _check_whole(path: str, location: str, declared: int, packets: list[_Packet]) -> None:
    whole = len(packets) - (1 if packets and packets[-1].is_corrupt else 0)
    if whole < declared:
        # An edit list may leave out packets on purpose: count again as the file stores them.
        with open_container(path, location, ignore_editlist="1") as (container, stream):
            whole = sum(1 for packet in container.demux(stream) if packet.size and not packet.is_corrupt)
        if whole < declared:
            raise VideoError(
                f"{location}: ends after frame {whole} of {declared}; the file was cut short, fetch or export it again"
            )
        return
    reason = missing_tail(path) if not declared else None
    if reason is not None:
        raise VideoError(f"{location}: ends after frame {whole}: {reason}")
    if not packets:
        raise VideoError(f"{location}: has no frames")


def _count_by_decoding(path: str, location: str, limits: VideoLimits, progress: Callable[[], None]) -> int:
    count = 0
    with open_container(path, location) as (container, stream):
        for count, _ in enumerate(decoded_frames(container, stream, is_careful=True), start=1):
            if count > limits.max_frames_in_video:
                break
            if count % 64 == 0:
                progress()
    limits.check_count(count, location)
    return count
