"""Room responses: the image sources of a shoebox room, followed by a diffuse decaying tail."""

import numpy as np

SPEED_OF_SOUND = 343.0
MIXING_TIME = 0.025  # seconds after which the tail replaces the image sources


def reverberation_time(size: np.ndarray, absorption: float) -> float:
    """Eyring's RT60 in seconds of a room of ``size`` (3,) meters whose walls absorb the share ``absorption``.

    Example:
        >>> round(reverberation_time(np.array([5.0, 4.0, 3.0]), 0.3), 3)
        0.288
    """
    volume = size.prod()
    surface = 2 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
    return float(24 * np.log(10) / SPEED_OF_SOUND * volume / (-surface * np.log1p(-absorption)))


def room_response(
    size: np.ndarray, absorption: float, source: np.ndarray, ear: np.ndarray, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Impulse response of a shoebox room, float32 (n,) of about RT60 seconds, with the direct sound at distance / c.

    Until :data:`MIXING_TIME` after the direct sound, it is computed by the image method (Allen and Berkley 1979); after
    that, it is Gaussian noise with the average energy of the image sources of a room of volume V, 4 pi c / V per
    second, falling by 60 dB in Eyring's reverberation time. Amplitudes are 1 / distance.

    Args:
        size: room size (3,) in meters.
        absorption: share of the energy that a wall absorbs, between 0 and 1.
        source, ear: positions (3,) in meters.
    """
    rt60 = reverberation_time(size, absorption)
    direct = np.linalg.norm(source - ear)
    mixing = direct / SPEED_OF_SOUND + MIXING_TIME
    response = np.zeros(int(sample_rate * (mixing + rt60)) + 1)

    reach = np.ceil(mixing * SPEED_OF_SOUND / (2 * size)).astype(int)
    cells = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    mirrored = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(1, 8, 3)
    images = (1 - 2 * mirrored) * source + 2 * cells * size
    bounces = (np.abs(cells - mirrored) + np.abs(cells)).sum(axis=-1)
    distance = np.linalg.norm(images - ear, axis=-1)
    early = distance < mixing * SPEED_OF_SOUND
    arrival = np.rint(distance[early] / SPEED_OF_SOUND * sample_rate).astype(int)
    np.add.at(response, arrival, (1 - absorption) ** (bounces[early] / 2) / distance[early])

    time = np.arange(len(response)) / sample_rate
    density = 4 * np.pi * SPEED_OF_SOUND / size.prod() / sample_rate * 10 ** (-6 * time / rt60)
    tail = rng.standard_normal(len(response)) * np.sqrt(density)
    return (response + np.where(time > mixing, tail, 0)).astype(np.float32)


def random_room(kind: str, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """The response of a random room: ``smallroom`` of 2-5 m, ``mediumroom`` of 6-12 m; see :func:`room_response`."""
    low, high = {"smallroom": (2.0, 5.0), "mediumroom": (6.0, 12.0)}[kind]
    size = np.array([*rng.uniform(low, high, 2), rng.uniform(2.2, 3.5)])
    source, ear = (size * rng.uniform(0.2, 0.8, 3) for _ in range(2))
    return room_response(size, rng.uniform(0.2, 0.6), source, ear, sample_rate, rng)


def reverberate(sound: np.ndarray, response: np.ndarray) -> np.ndarray:
    """The full convolution of a sound (n,) with a room response (m,), (n + m - 1,).

    Example:
        >>> reverberate(np.array([1.0, 2.0]), np.array([0.0, 1.0, 0.5])).round(6).tolist()
        [0.0, 1.0, 2.5, 1.0]
    """
    length = len(sound) + len(response) - 1
    size = 1 << (length - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[:length]
