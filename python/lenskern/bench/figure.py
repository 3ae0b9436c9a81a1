"""The picture of the demonstration: data, model, residuals and source of some inversions."""

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

ROWS = {"rect": "rectangular mesh", "delaunay": "Delaunay mesh", "mge": "multi-Gaussian source"}
COLUMNS = (
    "data",
    "model",
    "lens light subtracted",
    "normalised residuals",
    "reconstructed source",
)


def draw(inversions, path):
    """Write a PNG with one row for each inversion.

    Parameters
    ----------
    inversions : list of tuple
        (Inversion, solution x).
    path : str or path
    """
    with matplotlib.rc_context({"font.size": 8.5, "axes.titlesize": 10, "axes.linewidth": 0.6}):
        figure = Figure(figsize=(17.5, 3.1 * len(inversions) + 0.3), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(inversions), len(COLUMNS), squeeze=False)
        for row, (inversion, x) in zip(axes, inversions, strict=True):
            _row(row, inversion, x)
        for axis, title in zip(axes[0], COLUMNS, strict=True):
            axis.set_title(title)
        figure.savefig(path, dpi=150)


def _row(axes, inversion, x):
    sky, grid = inversion.sky, inversion.sky.grid
    lens_only = np.where(np.arange(len(x)) < inversion.lens_gaussians, x, 0.0)
    model, lens_light = inversion.model(x), inversion.model(lens_only)
    residuals = (sky.data - model) / sky.noise
    arcs = sky.data - lens_light
    brightness = AsinhNorm(linear_width=0.15, vmin=0, vmax=np.percentile(sky.data, 99.95))
    arc_scale = Normalize(-0.05, np.percentile(model - lens_light, 99.8) * 1.05)
    panels = (
        (sky.data, "inferno", brightness, "e$^-$ s$^{-1}$"),
        (model, "inferno", brightness, "e$^-$ s$^{-1}$"),
        (arcs, "inferno", arc_scale, "e$^-$ s$^{-1}$"),
        (residuals, "RdBu_r", Normalize(-4, 4), "(data - model) / noise"),
    )
    ticks = [t for t in (0, 0.1, 0.3, 1, 3, 10, 30, 100) if t < brightness.vmax]
    curves, caustics = _critical_curves(inversion.lens, grid)
    for axis, (values, colours, norm, unit) in zip(axes, panels, strict=False):
        shown = axis.imshow(grid.image(values), extent=grid.extent, cmap=colours, norm=norm, interpolation="nearest")
        axis.set_facecolor("0.5" if colours == "inferno" else "white")
        _finish(axis, shown, unit, ticks if norm is brightness else None)
    for curve in curves:
        axes[2].plot(curve[:, 1], curve[:, 0], color="white", lw=0.7, ls="--")
    axes[3].text(
        0.02,
        0.02,
        rf"$\chi^2$ / pixel = {np.mean(residuals**2):.2f}",
        transform=axes[3].transAxes,
        fontsize=7.5,
    )
    axes[0].annotate(
        f"{ROWS[inversion.kind]}, K = {len(x)}",
        (-0.17, 0.5),
        xycoords="axes fraction",
        rotation=90,
        ha="right",
        va="center",
        fontsize=10,
    )
    _source(axes[4], inversion, x, caustics)


def _source(axis, inversion, x, caustics):
    """Source plane with the caustics, zoomed to where the light is."""
    source = x[inversion.lens_gaussians :]
    if inversion.mesh is None:
        centre, half = np.asarray(inversion.source_gaussians[0]), 0.55
    else:
        vertices, edges = inversion.mesh.vertices, inversion.mesh.edges
        bright = source >= 0.2 * np.percentile(source, 99.5)
        centre = np.average(vertices[bright], axis=0, weights=source[bright])
        half = np.clip(2.2 * np.percentile(np.abs(vertices[bright] - centre), 90), 0.5, 1.5)
    if inversion.mesh is None:
        y, x_ = np.meshgrid(*(c + np.linspace(-half, half, 400) for c in centre), indexing="ij")
        values = inversion.source_brightness(x, np.stack([y, x_], -1))
        norm = Normalize(0, np.percentile(values, 99.9))
        shown = axis.pcolormesh(x_, y, values, cmap="magma", norm=norm, shading="nearest", rasterized=True)
    elif edges is not None:
        norm = Normalize(0, source.max())
        shape = len(edges[0]) - 1, len(edges[1]) - 1
        shown = axis.pcolormesh(edges[1], edges[0], source.reshape(shape), cmap="magma", norm=norm, rasterized=True)
    else:
        norm = Normalize(0, source.max())
        triangles = Triangulation(vertices[:, 1], vertices[:, 0])
        shown = axis.tripcolor(triangles, source, cmap="magma", norm=norm, shading="gouraud", rasterized=True)
        axis.plot(vertices[:, 1], vertices[:, 0], ".", color="white", ms=1.6, alpha=0.6, mew=0)
    for caustic in caustics:
        axis.plot(caustic[:, 1], caustic[:, 0], color="cyan", lw=0.7)
    axis.set_facecolor("black")
    axis.set_xlim(centre[1] - half, centre[1] + half)
    axis.set_ylim(centre[0] - half, centre[0] + half)
    _finish(axis, shown, "e$^-$ s$^{-1}$ pixel$^{-1}$")


def _critical_curves(lens, grid):
    """Tangential critical curves (det A = 0 outside the singular centre) and their images in the source plane."""
    from contourpy import contour_generator

    axis = np.linspace(-grid.mask_radius, grid.mask_radius, 401)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    traced = lens.trace(np.stack([y, x], -1))
    step = axis[1] - axis[0]
    yy, yx = np.gradient(traced[..., 0], step)
    xy, xx = np.gradient(traced[..., 1], step)
    near = np.hypot(y - lens.centre[0], x - lens.centre[1]) < 0.15 * lens.einstein_radius
    determinant = np.where(near, -1.0, yy * xx - yx * xy)
    lines = [line[:, ::-1] for line in contour_generator(x, y, determinant).lines(0.0) if len(line) > 40]
    return lines, [lens.trace(line) for line in lines]


def _finish(axis, shown, unit, ticks=None):
    """Equal aspect, arcsec labels and a colour bar of the height of the panel."""
    axis.set_aspect("equal")
    axis.set_xlabel("x (arcsec)")
    axis.set_ylabel("y (arcsec)", labelpad=-1)
    axis.tick_params(length=2.5, width=0.6)
    bar = axis.figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.02, ticks=ticks)
    bar.ax.minorticks_off()
    if ticks is not None:
        bar.ax.set_yticklabels([f"{tick:g}" for tick in ticks])
    bar.set_label(unit, labelpad=2)
    bar.ax.tick_params(length=2, width=0.5, labelsize=7)
    bar.outline.set_linewidth(0.5)
