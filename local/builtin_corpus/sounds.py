"""Noises and music: float32 (n,) with a root mean square of 1."""

import numpy as np

NOISES = ("hiss", "hum", "crowd", "engine", "rain", "clatter", "wind")


def noise(kind: str, num_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Generate one of the :data:`NOISES`."""
    time = np.arange(num_samples) / sample_rate
    if kind == "hiss":
        sound = colored(num_samples, rng.uniform(0, 1.5), rng)
    elif kind == "hum":
        base = rng.choice([50.0, 60.0]) * rng.uniform(0.99, 1.01)
        sound = sum(tone(time, base * k, rng) * rng.random() / k**0.5 for k in range(1, 14))
        sound = sound + 0.3 * colored(num_samples, 1.0, rng)
    elif kind == "crowd":
        voices = (colored(num_samples, 1.0, rng) * np.abs(slow(num_samples, 5.0, sample_rate, rng)) for _ in range(6))
        sound = np.diff(sum(voices), prepend=0) + 0.1 * colored(num_samples, 0.5, rng)
    elif kind == "engine":
        speed = rng.uniform(25, 70) * (1 + 0.05 * slow(num_samples, 1.0, sample_rate, rng))
        phase = 2 * np.pi * np.cumsum(speed) / sample_rate
        sound = sum(np.sin(k * phase + rng.uniform(0, 6)) * rng.random() / k**0.7 for k in range(1, 20))
        sound = sound + 0.4 * colored(num_samples, 1.5, rng)
    elif kind == "rain":
        drops = rng.standard_normal(num_samples) * (rng.random(num_samples) < rng.uniform(0.002, 0.02))
        splash = np.exp(-np.arange(48) / rng.uniform(3, 10)) * np.sin(np.arange(1, 49) * rng.uniform(0.5, 1.5))
        sound = np.convolve(drops, splash)[:num_samples] + 0.02 * colored(num_samples, 0.5, rng)
    elif kind == "clatter":
        sound = 0.02 * colored(num_samples, 1.0, rng)
        for start in rng.integers(0, num_samples, max(2, int(4 * num_samples / sample_rate))):
            ring = time[: num_samples - start]
            sound[start:] += sum(
                tone(ring, rng.uniform(500, 6000), rng) * np.exp(-ring * rng.uniform(15, 80)) for _ in range(4)
            )
    elif kind == "wind":
        sound = colored(num_samples, 2.0, rng) * (1 + 0.8 * slow(num_samples, 1.5, sample_rate, rng))
    else:
        raise ValueError(f"no such noise: {kind}")
    return unit(sound)


def music(num_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Generate chords, a melody and a beat in a random key and tempo."""
    time = np.arange(num_samples) / sample_rate
    sound = np.zeros(num_samples)
    root = 110 * 2 ** (rng.integers(12) / 12)
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16])
    beat = rng.uniform(0.3, 0.6)
    partials = 1 / np.arange(1, 6) ** rng.uniform(0.8, 2.0)
    for number in range(int(num_samples / sample_rate / beat) + 1):
        start = int(number * beat * sample_rate)
        length = time[: num_samples - start]
        degrees = [rng.integers(10)]
        if number % 4 == 0:
            chord = rng.integers(4)
            degrees += [chord, chord + 2, chord + 4]
        for degree in degrees:
            pitch = root * 2 ** (scale[degree] / 12)
            note = sum(level * tone(length, pitch * (k + 1), rng) for k, level in enumerate(partials))
            sound[start:] += note * np.exp(-length / beat) * np.minimum(1, length * 100)
        sound[start:] += 0.5 * rng.standard_normal(len(length)) * np.exp(-length * 60)
    return unit(sound)


def mix(speech: np.ndarray, other: np.ndarray, snr_db: float) -> np.ndarray:
    """Add another sound to speech at a signal-to-noise ratio.

    Example:
        >>> mixed = mix(np.ones(4), np.ones(4), 20.0)
        >>> mixed.round(3).tolist()
        [1.1, 1.1, 1.1, 1.1]
    """
    scale = np.sqrt(np.mean(speech**2) / max(np.mean(other**2), 1e-12)) * 10 ** (-snr_db / 20)
    return speech + scale * other


def colored(num_samples: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Noise whose power falls with frequency to the power ``slope``, with a root mean square of 1."""
    spectrum = rng.standard_normal(num_samples // 2 + 1) + 1j * rng.standard_normal(num_samples // 2 + 1)
    spectrum[0] = 0
    spectrum[1:] /= np.maximum(np.arange(1, len(spectrum)), 20 * num_samples / 16000) ** (slope / 2)
    return unit(np.fft.irfft(spectrum, num_samples))


def slow(num_samples: int, rate: float, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A random curve of about unit size that changes about ``rate`` times per second."""
    points = rng.standard_normal(int(num_samples / sample_rate * rate) + 3)
    return np.interp(np.arange(num_samples) * rate / sample_rate, np.arange(len(points)), points)


def tone(time: np.ndarray, frequency: float, rng: np.random.Generator) -> np.ndarray:
    """A sine with a random phase."""
    return np.sin(2 * np.pi * frequency * time + rng.uniform(0, 2 * np.pi))


def unit(sound: np.ndarray) -> np.ndarray:
    """Scale a sound to a root mean square of 1, float32."""
    return (sound / max(float(np.sqrt(np.mean(sound**2))), 1e-9)).astype(np.float32)
