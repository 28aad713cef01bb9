"""The properties of a face that all sessions share, and those that a session changes.

Lengths are in head units: the center of the head is 0, the chin is at about y = 1, the top of the skull at about
y = -1, and x increases to the right of the picture. Colors are BGR between 0 and 255.
"""

from dataclasses import dataclass

import numpy as np

from avsv.seeding import generator_for

from .plan import Identity, Settings

Color = tuple[float, float, float]

HAIR_STYLES = {
    "f": ("long", "long", "bob", "bun", "curly", "pixie", "fringe"),
    "m": ("short", "short", "quiff", "buzz", "receding", "curls", "bald"),
}
BEARDS = ("none", "none", "none", "stubble", "moustache", "goatee", "full")
_HAIR_COLORS: tuple[Color, ...] = (
    (22, 20, 24), (30, 36, 50), (35, 55, 85), (60, 95, 140), (110, 165, 205), (45, 75, 150), (30, 42, 66),
)  # fmt: skip
_IRIS_COLORS: tuple[Color, ...] = ((35, 55, 85), (25, 40, 60), (150, 120, 80), (100, 130, 90), (60, 110, 120))
_SKIN = np.array([[198, 219, 246], [160, 190, 232], [120, 158, 212], [80, 114, 170], [48, 72, 118], [34, 48, 80]])


@dataclass(frozen=True)
class Face:
    """The traits of a face; lengths are in head units, see the module docstring."""

    width: float
    jaw: float
    chin: float
    forehead: float
    chin_y: float
    eye_x: float
    eye_y: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    iris: Color
    brow_gap: float
    brow_width: float
    brow_thickness: float
    brow_tilt: float
    brow_arch: float
    nose_length: float
    nose_width: float
    nose_height: float
    nose_bridge: float
    mouth_y: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    mouth_corner: float
    ear: float
    cheekbone: float
    socket: float
    skin: Color
    lip_redness: float
    wrinkles: float
    freckles: tuple[tuple[float, float], ...]
    moles: tuple[tuple[float, float], ...]
    hair_style: str
    hair: Color
    hair_top: float
    hair_side: float
    hairline: float
    parting: float
    beard: str
    tooth_gap: float


def face_of(identity: Identity, spread: float) -> Face:
    """The face of an identity, which depends on gender, age and individual traits."""

    def draw(trait: str, mean: float, deviation: float) -> float:
        return mean + spread * deviation * identity.normal("face " + trait)

    man = identity.gender == "m"
    old = np.clip((identity.age - 35) / 35, 0, 1)
    skin = tone(identity.uniform("face skin")) + np.array([-6, -4, 6]) * identity.normal("face redness")
    gray = np.clip(old * 1.6 - 0.5 + 0.3 * identity.normal("face grey"), 0, 0.9)
    hair = (1 - gray) * np.array(identity.choice("face hair colour", list(_HAIR_COLORS))) + gray * np.full(3, 175.0)
    rng = generator_for(identity.seed, "spots", identity.name)
    moles = rng.uniform([-0.5, -0.4], [0.5, 0.8], (rng.integers(0, 3), 2))
    num_freckles = int(450 * max(0.0, identity.uniform("face freckles") - 0.8))
    freckles = rng.normal([0, 0.2], [0.33, 0.14], (num_freckles, 2))
    return Face(
        width=draw("width", 0.76 if man else 0.73, 0.05),
        jaw=draw("jaw", 0.84 if man else 0.76, 0.06),
        chin=draw("chin", 0.42 if man else 0.34, 0.07),
        forehead=draw("forehead", 0.88, 0.04),
        chin_y=draw("chin y", 1.02 if man else 0.97, 0.05),
        eye_x=draw("eye x", 0.31, 0.025),
        eye_y=draw("eye y", -0.03, 0.04),
        eye_width=draw("eye width", 0.145 if man else 0.155, 0.016),
        eye_height=draw("eye height", 0.062 if man else 0.07, 0.013),
        eye_tilt=draw("eye tilt", -0.03, 0.08),
        iris=identity.choice("face iris", list(_IRIS_COLORS)),
        brow_gap=draw("brow gap", 0.17 if man else 0.2, 0.035),
        brow_width=draw("brow width", 0.2, 0.022),
        brow_thickness=max(0.012, draw("brow thickness", 0.044 if man else 0.028, 0.011)),
        brow_tilt=draw("brow tilt", -0.05, 0.1),
        brow_arch=draw("brow arch", 0.035, 0.02),
        nose_length=draw("nose length", 0.4, 0.045),
        nose_width=draw("nose width", 0.15 if man else 0.13, 0.022),
        nose_height=draw("nose height", 0.2, 0.045),
        nose_bridge=draw("nose bridge", 0.07, 0.014),
        mouth_y=draw("mouth y", 0.63, 0.03),
        mouth_width=draw("mouth width", 0.27 if man else 0.25, 0.033),
        upper_lip=max(0.012, draw("upper lip", 0.04 if man else 0.05, 0.013)),
        lower_lip=max(0.02, draw("lower lip", 0.06 if man else 0.07, 0.016)),
        mouth_corner=draw("mouth corner", 0.0, 0.02),
        ear=draw("ear", 0.17, 0.03),
        cheekbone=draw("cheekbone", 0.05, 0.03),
        socket=draw("socket", 0.07, 0.025),
        skin=bgr(skin),
        lip_redness=draw("lip redness", 0.35 if man else 0.6, 0.15),
        wrinkles=float(np.clip(old + 0.12 * identity.normal("face wrinkles"), 0, 1)),
        freckles=tuple(map(tuple, freckles.tolist())),
        moles=tuple(map(tuple, moles.tolist())),
        hair_style=identity.choice("face hair style", list(HAIR_STYLES[identity.gender])),
        hair=bgr(hair),
        hair_top=float(np.exp(draw("hair top", np.log(0.12), 0.35))),
        hair_side=float(np.exp(draw("hair side", np.log(0.1), 0.35))),
        hairline=draw("hairline", -0.58 - 0.1 * old * man, 0.05),
        parting=draw("parting", 0.0, 0.35),
        beard=identity.choice("face beard", list(BEARDS)) if man else "none",
        tooth_gap=max(0.0, identity.uniform("face tooth gap") - 0.8) * 5,
    )


@dataclass(frozen=True)
class Appearance:
    """The effect of a session on a face and its picture; angles in radians, lengths as shares of the picture width."""

    yaw: float
    pitch: float
    roll: float
    shift: tuple[float, float]
    scale: float
    smile: float
    brows: float
    weight: float
    gaze: tuple[float, float]
    hair_volume: float
    clothes: Color
    light: tuple[float, float, float]
    ambient: float
    gain: tuple[float, float, float]
    gamma: float
    blur: float
    noise: float
    glasses: str
    hat: str
    occlusion: str
    crf: int
    audio_kbps: int
    seed: int
    name: str


def appearance_of(identity: Identity, session: str, settings: Settings) -> Appearance:
    """The appearance in a session, a pure function of the seed of the corpus and the names."""
    knobs, media = settings.face, settings.media
    rng = generator_for(identity.seed, "face session", identity.name, session)
    azimuth, elevation = rng.uniform(-1.2, 1.2), rng.uniform(-0.3, 0.9)
    temperature = rng.normal(0, 0.5 * knobs["gain"])
    gain = np.exp(rng.normal(0, knobs["gain"]) + temperature * np.array([1, 0, -1]))
    vary = knobs["expression"]
    return Appearance(
        yaw=float(np.radians(np.clip(rng.normal(0, knobs["yaw"]), -2.2 * knobs["yaw"], 2.2 * knobs["yaw"]))),
        pitch=float(np.radians(rng.normal(0, knobs["pitch"]))),
        roll=float(np.radians(rng.normal(0, knobs["roll"]))),
        shift=tuple(float(x) for x in rng.normal(0, knobs["shift"], 2)),
        scale=float(np.exp(rng.normal(0, knobs["scale"]))),
        smile=float(vary * rng.normal(0, 0.03)),
        brows=float(vary * rng.normal(0, 0.025)),
        weight=float(np.exp(vary * rng.normal(0, 0.025))),
        gaze=tuple(float(x) for x in rng.uniform(-0.3, 0.3, 2)),
        hair_volume=float(np.exp(vary * rng.normal(0, 0.2))),
        clothes=bgr(rng.uniform(20, 220, 3)),
        light=(np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation)),
        ambient=float(1 - rng.uniform(0.2, 1) * knobs["light"]),
        gain=bgr(gain),
        gamma=float(np.exp(rng.normal(0, 0.15))),
        blur=float(rng.uniform(0, knobs["blur"])),
        noise=float(rng.uniform(0, knobs["noise"])),
        glasses=str(rng.choice(["round", "square", "dark"])) if rng.random() < knobs["glasses"] else "",
        hat=str(rng.choice(["cap", "beanie"])) if rng.random() < knobs["hat"] else "",
        occlusion=str(rng.choice(["hand", "bar", "scarf", "strand"])) if rng.random() < knobs["occlusion"] else "",
        crf=int(media["crf"] + rng.integers(-3, 7)),
        audio_kbps=int(rng.integers(media["audio_kbps"][0], media["audio_kbps"][1] + 1)),
        seed=identity.seed,
        name=f"{identity.name}-{session}",
    )


def tone(darkness: float) -> np.ndarray:
    """Skin color (3,) for a darkness between 0 and 1."""
    return np.array([np.interp(darkness * (len(_SKIN) - 1), np.arange(len(_SKIN)), channel) for channel in _SKIN.T])


def bgr(color: np.ndarray) -> Color:
    """Convert an array of three values to a color."""
    return float(color[0]), float(color[1]), float(color[2])
