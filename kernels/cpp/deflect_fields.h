// Fields of the haloes of one lane on its rays.
#pragma once

#include "deflect_plane.h"

namespace lenskern::LENSKERN_ISA {
namespace deflect {

constexpr double kNaN = __builtin_nan("");

// The radial functions of a lane. Null `transform` where memory ran out.
template <class D>
inline Radial<D> radial_of(const Scene<D>& scene, Scratch& scratch) {
  const int n = scene.tables.points;
  double* transform = scratch.transform.template reserve<double>(n * n + 1);
  if (transform != nullptr) TableMath<D>::fill_transform(n, transform);
  return {{scene.tables, transform}};
}

// The haloes of a lane that are not masked, and which of the lane's each is. `valid` is false where one of them is not.
struct ActiveHalos {
  int count = 0;
  Halo* halos;
  int32_t* number;
  bool valid = true;
};

// False where memory ran out.
template <class D>
inline bool read_halos(const Scene<D>& scene, Scratch& scratch, ActiveHalos* active) {
  active->halos = scratch.halos.template reserve<Halo>(scene.count);
  active->number = scratch.numbers.template reserve<int32_t>(scene.count);
  if (scene.count > 0 && (active->halos == nullptr || active->number == nullptr)) return false;
  for (int i = 0; i < scene.count; ++i) {
    if (!scene.mask[i]) continue;
    Halo& halo = active->halos[active->count];
    halo = read_halo(scene, i);
    active->valid &= is_valid(halo, scene.tables.count);
    active->number[active->count++] = i;
  }
  return true;
}

// Square of the radius that ten or so of the rays in a box are expected within: closed forms serve them.
inline double least_distance(const Box& box, int64_t rays) {
  const double side = std::fmax(box.hy, box.hx);
  const double area = 4 * std::fmax(box.hy, side / rays) * std::fmax(box.hx, side / rays);
  return std::fmax(3 * area / rays, 1e-280);
}

// Least and greatest v of a halo over a box.
inline Octaves octaves_of(const Halo& halo, const Box& box, double least) {
  const double ay = std::fabs(halo.y - box.y), ax = std::fabs(halo.x - box.x);
  const double ny = std::fmax(ay - box.hy, 0), nx = std::fmax(ax - box.hx, 0), fy = ay + box.hy, fx = ax + box.hx;
  // A little more, for points that rounding puts outside the box.
  const double high = std::fmax((fy * fy + fx * fx) * (1 + 1e-9), least);
  const double low = std::fmin(std::fmax((ny * ny + nx * nx) * (1 - 1e-9), least), high);
  return Octaves(low, high);
}

// Whether distant haloes are summed at the points of the nodes.
inline bool wants_far_field(double tol, const RayTree& tree) { return tol != 0 && tree[0].rays > 2 * kMostSquare; }

// Narrow rows where blocks of rays fit them: at some 28 times the half-width of a block, which is that of kBlock
// pixels. With a far field most haloes that are left are near, and narrow rows would not pay.
inline RowLayout layout_of(bool use_far, const Box& box, const RayTree& tree) {
  return use_far ? RowLayout() : RowLayout(800 * kBlock / 2 * least_distance(box, tree[0].rays) / 3);
}

// Error of the far field in derivatives, relative to each halo's: by default, and with a tolerance of at least
// kLooseTol arcsec, where rows are loose too.
constexpr double kDerivativeError = 1e-10, kLooseDerivativeError = 1e-9, kLooseTol = 1e-9;

// What errors a far field may make.
struct FarErrors {
  double tol;       // for all `total` haloes of the lane; below 0 it is `rounding` times the sum of their fields
  int total;        // haloes
  double rounding;  // the error is never asked to be below this share of the fields
  int power;        // fields are compared after multiplication with R^power
  bool each;        // `rounding` is of the field of each halo, whatever `tol`

  static FarErrors of_derivatives(double tol, int total) {
    return {tol, total, tol >= kLooseTol ? kLooseDerivativeError : kDerivativeError, 1, true};
  }
};

// Relative error of loose rows, and the most of the allowed error that they may take.
constexpr double kLooseError = 2e-11, kLooseShare = 0.25;

// The far field of a chunk, and how far each halo has to be.
//
// Every halo gets the same share of the error. Its deflection at R is at most its peak, and at most its mass over R.
class FarPlan {
 public:
  // False where memory ran out.
  bool make(const ChunkRows& chunk, const RayTree& tree, const FarErrors& errors, Scratch& scratch) {
    reach_ = scratch.reaches.reserve<Reach>(chunk.count);
    if (reach_ == nullptr) return false;
    double sum = 0;
    for (int i = 0; i < chunk.count; ++i) {
      double peak = 0, mass = 0;
      const Octaves octaves = octaves_of(chunk.halos[i], tree[0].box, chunk.least_v);
      for (int64_t octave = octaves.begin; octave < octaves.end; ++octave) {
        const double v = from_bits(octave << 52), R = std::sqrt(v);
        if (v < 10 * chunk.least_v && octave + 1 < octaves.end) continue;
        const double first = with_wide(chunk.loose, [&](auto wide) { return *chunk.row<decltype(wide)>(i, v); });
        const double value = std::fabs(first) * (errors.power > 0 ? R : 1 / R);
        peak = std::fmax(peak, value), mass = std::fmax(mass, value * R);
      }
      if (chunk.halos[i].profile == kProfileSheet) peak = mass = 0;  // a polynomial
      reach_[i] = {peak, mass};
      sum += peak;
    }
    const double floor = errors.rounding * sum / chunk.count;
    const double share = std::fmax(errors.tol < 0 ? floor : std::fmax(errors.tol / errors.total, floor), 1e-300);
    loose_is_enough_ = errors.each || kLooseError * sum <= kLooseShare * share * chunk.count;
    // Rays for each halo: what interpolation costs beside the sums.
    const double rays = static_cast<double>(tree[0].rays) / errors.total;
    far_ = FarField(
        std::fmin(errors.each ? errors.rounding : share * chunk.count / std::fmax(sum, 1e-300), 1e-2), rays);
    for (int i = 0; i < chunk.count; ++i) {
      const double own = errors.each ? errors.rounding * std::fmax(reach_[i].peak, 1e-300) : share;
      reach_[i] = {far_.rho(reach_[i].peak / own), far_.rho(reach_[i].mass / own) * far_.rho(1)};
    }
    return true;
  }

  const FarField* far() const { return &far_; }
  const Reach* reach() const { return reach_; }
  bool loose_is_enough() const { return loose_is_enough_; }

 private:
  FarField far_{1e-2, 1};
  Reach* reach_ = nullptr;
  bool loose_is_enough_ = false;
};

// A chunk of haloes: as many as have room, in doubles, for their rows. `sample(halo, v, values)` gives kFunctions
// functions.
template <int kFunctions, class Sample>
inline bool fill_chunk(const Halo* halos, int left, const Box& box, double least, const RowLayout& layout, bool loose,
                       int64_t room, const Sample& sample, Scratch& scratch, Crew::Worker& worker, ChunkRows* chunk) {
  const int most = left < kHalosAtOnce ? left : kHalosAtOnce;
  int64_t* base = scratch.offsets.template reserve<int64_t>(most);
  if (base == nullptr) return false;
  *chunk = {halos, 0, least, nullptr, 0, layout, base, loose};
  int64_t total = 0;
  for (; chunk->count < most; ++chunk->count) {
    const Octaves octaves = octaves_of(halos[chunk->count], box, least);
    const int64_t doubles = layout.octave(octaves.end) - layout.octave(octaves.begin);
    if (chunk->count > 0 && (total + doubles) * kFunctions > room) break;
    base[chunk->count] = total - layout.octave(octaves.begin);
    total += doubles;
  }
  double* rows = scratch.rows.template reserve<double>(total * kFunctions);
  if (rows == nullptr) return false;
  chunk->rows = rows;
  chunk->distance = total;
  constexpr int kHalosTogether = 8;
  worker.parallel_for((chunk->count + kHalosTogether - 1) / kHalosTogether, [&](int group) {
    const int begin = group * kHalosTogether, end = begin + kHalosTogether;
    for (int i = begin; i < end && i < chunk->count; ++i) {
      const Halo& halo = halos[i];
      const Octaves octaves = octaves_of(halo, box, least);
      with_wide(loose, [&](auto wide) {
        fill_rows<decltype(wide), kFunctions>(
            octaves, layout, halo.profile < kTable, [&](auto v, auto* values) { sample(halo, v, values); },
            rows + base[i] + layout.octave(octaves.begin), total);
      });
    }
  });
  return true;
}

// A chunk and its far field; rows are loose where the errors allow it. False where memory ran out.
template <int kFunctions, class Sample>
inline bool make_chunk(const Halo* halos, int left, const RayTree& tree, const FarErrors& errors, const Sample& sample,
                       Scratch& scratch, Crew::Worker& worker, ChunkRows* chunk, FarPlan* plan) {
  const Box& box = tree[0].box;
  const double least = least_distance(box, tree[0].rays);
  const bool use_far = wants_far_field(errors.tol, tree);
  // How large the fields are is known afterwards only; a guess is mended.
  bool loose = use_far && (errors.each ? errors.rounding > kDerivativeError
                                       : errors.tol > 1e-12 || errors.rounding > 1e-12);
  while (true) {
    if (!fill_chunk<kFunctions>(halos, left, box, least, layout_of(use_far, box, tree), loose,
                                use_far ? kRowDoublesAtOnce : kDirectRowDoubles, sample, scratch, worker, chunk))
      return false;
    if (!plan->make(*chunk, tree, errors, scratch)) return false;
    if (!loose || plan->loose_is_enough()) return true;
    loose = false;
  }
}

// The least error of a far field, relative to the sum of the peaks.
template <class D>
constexpr double kRounding = sizeof(D) == 8 ? 1e-15 : 1e-7;

// A field at the points of the nodes and at the rays.
template <int kKind, class Closed>
struct FieldsOfTree {
  static constexpr int kFields = FieldSum<kKind>::kFields;
  const RayTree& tree;
  const ChunkRows& chunk;
  const Closed& closed;
  double* out;

  void at_points(const Candidates& from, Lists& lists, int, const double* y, const double* x, int points,
                 double* values, int) const {
    sum_fields<kKind>(from, chunk, closed, lists, y, x, points, values, points);
  }
  void at_rays(const Candidates& from, Lists& lists, int64_t begin, int64_t end, int) const {
    sum_fields<kKind>(from, chunk, closed, lists, tree.y() + begin, tree.x() + begin, end - begin, out + begin,
                      tree.slots());
  }
};

template <int kKind, class D>
bool sum_fields_of_lane(const Scene<D>& scene, const Options& options, D* out, Scratch& scratch, Crew::Worker& worker) {
  constexpr int kFields = FieldSum<kKind>::kFields;
  ActiveHalos active;
  if (!read_halos(scene, scratch, &active)) return false;
  const Halo* halos = active.halos;
  const int count = active.count;
  for (int64_t i = 0; i < scene.n * kFields; ++i) out[i] = static_cast<D>(kNaN);
  if (!active.valid) return true;

  const Radial<D> radial = radial_of(scene, scratch);
  if (radial.tables.transform == nullptr) return false;
  const auto value_at = [&](const Halo& halo, auto v) {
    if constexpr (kKind == kConvergence) {
      return halo.amplitude * radial.local(halo, v);
    } else if constexpr (kKind == kPotential) {
      return halo.amplitude * radial.integral(halo, v);
    } else {
      return halo.amplitude * radial.mean(halo, v);
    }
  };
  const auto closed = [&](const Halo& halo, double v, double* slope) {
    const double value = value_at(halo, v);
    // d/dv of the mean convergence; in the core where v is held, both are the same.
    if (slope != nullptr) *slope = v > 0 ? (halo.amplitude * radial.local(halo, v) - value) / v : 0;
    return value;
  };

  if (scene.n <= kClosedRays) {
    for (int64_t i = 0; i < scene.n; ++i) {
      const double y = scene.grid[2 * i], x = scene.grid[2 * i + 1];
      double sum[kFields] = {};
      for (int h = 0; h < count; ++h) {
        const double dy = y - halos[h].y, dx = x - halos[h].x;
        double slope = 0;
        const double value = closed(halos[h], dy * dy + dx * dx, kKind == kJacobian ? &slope : nullptr);
        if constexpr (kKind == kDeflection) {
          sum[0] += value * dy, sum[1] += value * dx;
        } else if constexpr (kKind == kJacobian) {
          sum[0] += value + 2 * slope * dy * dy, sum[1] += 2 * slope * dy * dx, sum[2] += value + 2 * slope * dx * dx;
        } else {
          sum[0] += value;
        }
      }
      const double bad = (y - y) + (x - x);  // NaN for a ray that is not finite
      for (int f = 0; f < kFields; ++f) out[i * kFields + f] = static_cast<D>(sum[f] + bad);
    }
    return true;
  }

  for (int64_t first = 0; first < scene.n; first += kRaysAtOnce) {
    const int64_t n = scene.n - first < kRaysAtOnce ? scene.n - first : kRaysAtOnce;
    const D* grid = scene.grid + 2 * first;
    D* to = out + first * kFields;
    RayTree& tree = scratch.tree;
    if (!tree.build(grid, n, kLeafRays)) return false;
    if (tree.size() == 0) continue;
    double* sums = scratch.fields.template reserve<double>(kFields * tree.slots());
    if (sums == nullptr) return false;
    for (int64_t i = 0; i < kFields * tree.slots(); ++i) sums[i] = 0;
    const bool use_far = wants_far_field(options.tol, tree);
    const auto sample = [&](const Halo& halo, auto v, auto* values) { *values = value_at(halo, v); };
    const auto closed_at = [&](const Halo& halo, double v, double* value, double* slope) {
      *value = closed(halo, v, slope);
    };
    for (int done = 0; done < count;) {
      ChunkRows chunk;
      FarPlan plan;
      if (!make_chunk<1>(halos + done, count - done, tree,
                         {options.tol, count, kRounding<D>, kKind == kPotential ? -1 : 1, false}, sample, scratch,
                         worker, &chunk, &plan))
        return false;
      const FieldsOfTree<kKind, decltype(closed_at)> sum{tree, chunk, closed_at, sums};
      if (!sum_chunk(tree, use_far ? plan.far() : nullptr, plan.reach(), sum, chunk, sums, scratch, worker))
        return false;
      done += chunk.count;
    }
    for (int64_t slot = 0; slot < tree.slots(); ++slot) {
      const int32_t ray = tree.order()[slot];
      if (ray < 0) continue;
      for (int f = 0; f < kFields; ++f) to[int64_t{ray} * kFields + f] = static_cast<D>(sums[f * tree.slots() + slot]);
    }
  }
  return true;
}

}  // namespace deflect
}  // namespace lenskern::LENSKERN_ISA
