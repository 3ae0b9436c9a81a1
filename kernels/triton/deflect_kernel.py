"""The body of the sum over haloes: one program takes a tile of rays through all haloes of a lane."""

import triton
import triton.language as tl


@triton.jit
def add(total, lost, more):
    """Compensated sum: float32 would lose digits over many haloes."""
    more = more - lost
    new = total + more
    return new, (new - total) - more


@triton.jit
def sum_halos(
    profile,
    centre,
    amplitude,
    scale,
    shape,
    mask,
    grid,
    halos,
    rays,
    out,
    FIELD: tl.constexpr,
    LANES: tl.constexpr,
    TILE: tl.constexpr,
    COMPONENTS: tl.constexpr,
):
    # LANES says of each operand whether it has lanes: 0 where all share it.
    tiles = (rays + TILE - 1) // TILE
    lane = (tl.program_id(0) // tiles).to(tl.int64)
    ray = (tl.program_id(0) % tiles) * TILE + tl.arange(0, TILE)
    inside = ray < rays
    profile += lane * LANES[0] * halos
    centre += lane * LANES[1] * halos * 2
    amplitude += lane * LANES[2] * halos
    scale += lane * LANES[3] * halos
    shape += lane * LANES[4] * halos * 2
    mask += lane * LANES[5] * halos
    grid += lane * LANES[6] * rays * 2
    out += lane * rays * COMPONENTS

    y = tl.load(grid + 2 * ray, mask=inside, other=0)
    x = tl.load(grid + 2 * ray + 1, mask=inside, other=0)
    a = tl.zeros_like(y)
    b = tl.zeros_like(y)
    c = tl.zeros_like(y)
    a_lost = tl.zeros_like(y)
    b_lost = tl.zeros_like(y)
    c_lost = tl.zeros_like(y)
    for i in range(halos):
        if tl.load(mask + i) != 0:
            f, g, h = FIELD(
                tl.load(profile + i),
                y - tl.load(centre + 2 * i),
                x - tl.load(centre + 2 * i + 1),
                tl.load(amplitude + i),
                tl.load(scale + i),
                tl.load(shape + 2 * i),
                tl.load(shape + 2 * i + 1),
            )
            a, a_lost = add(a, a_lost, f)
            b, b_lost = add(b, b_lost, g)
            c, c_lost = add(c, c_lost, h)
    bad = (y - y) + (x - x)  # NaN for a ray that is not finite
    tl.store(out + COMPONENTS * ray, a + bad, mask=inside)
    if COMPONENTS > 1:
        tl.store(out + COMPONENTS * ray + 1, b + bad, mask=inside)
    if COMPONENTS > 2:
        tl.store(out + COMPONENTS * ray + 2, c + bad, mask=inside)
