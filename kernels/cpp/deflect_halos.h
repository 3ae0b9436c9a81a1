// The haloes of one chunk: their radial functions as rows, and in closed form.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "crew.h"
#include "deflect.h"
#include "deflect_rows.h"
#include "pack.h"  // before the mathematics

#include "lenskern/halos.h"

namespace lenskern::LENSKERN_ISA {
namespace deflect {

// One halo, in double precision whatever the data.
using Halo = HaloOf<double>;

template <class D>
inline Halo read_halo(const Scene<D>& scene, int i) {
  return {scene.profile[i],
          static_cast<double>(scene.centre[2 * i]),
          static_cast<double>(scene.centre[2 * i + 1]),
          static_cast<double>(scene.amplitude[i]),
          static_cast<double>(scene.scale[i]),
          static_cast<double>(scene.shape[2 * i]),
          static_cast<double>(scene.shape[2 * i + 1])};
}

// The radial tables of a lane, and what turns the values of a segment into Chebyshev coefficients.
template <class D>
struct TableMath {
  const RadialTables<D>& tables;
  const double* transform;  // [coefficient][point]

  static void fill_transform(int n, double* out) {
    for (int k = 0; k < n; ++k) {
      for (int j = 0; j < n; ++j) out[k * n + j] = (k > 0 ? 2.0 : 1.0) / n * std::cos(M_PI * k * (j + 0.5) / n);
    }
  }

  // Mean convergence of a table at ln u, and its derivative with respect to ln u.
  double value(int index, double ln_u, double* slope) const {
    const int n = tables.points;
    const double width = (tables.ln_u_max - tables.ln_u_min) / tables.segments;
    const double inside = std::fmin(std::fmax(ln_u, tables.ln_u_min), tables.ln_u_max);
    int segment = static_cast<int>((inside - tables.ln_u_min) / width);
    segment = segment < tables.segments ? segment : tables.segments - 1;
    const double t = 2 * ((inside - tables.ln_u_min) / width - segment) - 1;
    const D* values = tables.values + (int64_t{index} * tables.segments + segment) * n;
    const auto coefficient = [&](int k) {
      double sum = 0;
      for (int j = 0; j < n; ++j) sum += transform[k * n + j] * values[j];
      return sum;
    };
    double b1 = 0, b2 = 0, d1 = 0, d2 = 0;  // Clenshaw's recurrence and its derivative
    for (int k = n - 1; k >= 1; --k) {
      const double b = coefficient(k) + 2 * t * b1 - b2, d = 2 * b1 + 2 * t * d1 - d2;
      b2 = b1, b1 = b, d2 = d1, d1 = d;
    }
    const double value = coefficient(0) + t * b1 - b2, change = (b1 + t * d1 - d2) * 2 / width;
    if (ln_u < tables.ln_u_min) {  // a power law
      const double outside = value * std::exp(change / value * (ln_u - inside));
      *slope = outside * change / value;
      return outside;
    }
    if (ln_u > tables.ln_u_max) {  // no mass
      const double outside = value * std::exp(inside - ln_u);
      *slope = -outside;
      return outside;
    }
    *slope = change;
    return value;
  }
};

constexpr double kLeastU = 1e-24;

// The radial functions of a halo in closed form, without the amplitude. T is double or, but for tables, Pack.
template <class D>
struct Radial {
  TableMath<D> tables;

  template <class T>
  T mean(const Halo& h, T v) const {
    const T u = math::most(v / (h.scale * h.scale), T(kLeastU));
    if constexpr (std::is_same_v<T, double>) {
      double slope;
      if (h.profile >= kTable) return tables.value(h.profile - kTable, std::log(u), &slope);
    }
    return mean_convergence(static_cast<int>(h.profile), u, T(h.p), T(h.q));
  }
  template <class T>
  T local(const Halo& h, T v) const {
    const T u = math::most(v / (h.scale * h.scale), T(kLeastU));
    if constexpr (std::is_same_v<T, double>) {
      double slope;
      if (h.profile >= kTable) {
        const double g = tables.value(h.profile - kTable, std::log(u), &slope);
        return g + slope;
      }
    }
    return convergence(static_cast<int>(h.profile), u, T(h.p), T(h.q));
  }
  // The mean convergence and its derivatives with respect to p and, where `count` is 3, q.
  template <class T>
  void with_slopes(const Halo& h, T v, int count, T* values) const {
    const int shapes = shape_parameters(h.profile);
    for (int k = 1; k < count; ++k) values[k] = 0;
    if (shapes == 0 || count == 1) {
      values[0] = mean(h, v);
      return;
    }
    const Dual<T> u = v / (h.scale * h.scale);
    for (int k = 1; k < count && k <= shapes; ++k) {
      const Dual<T> g = mean_convergence(static_cast<int>(h.profile), u, Dual<T>(h.p, k == 1), Dual<T>(h.q, k == 2));
      values[0] = g.v, values[k] = g.d;
    }
  }
  // Of the potential, in units of arcsec^2.
  template <class T>
  T integral(const Halo& h, T v) const {
    const T u = math::most(v / (h.scale * h.scale), T(kLeastU));
    return h.scale * h.scale * potential(static_cast<int>(h.profile), u, T(h.p), T(h.q));
  }
};

// The rows of a chunk of haloes.
struct ChunkRows {
  const Halo* halos;
  int count;
  double least_v;  // below it there are no rows
  double* rows;
  int64_t distance;  // from the rows of one function to those of the next
  RowLayout layout;
  int64_t* base;  // the row for v of a halo is at base + layout.offset(v)
  bool loose;     // wide rows are LooseWide

  template <class Family>
  const double* row(int64_t halo, double v) const {
    return rows + base[halo] + layout.offset<Family>(bits_of(v));
  }
};

}  // namespace deflect
}  // namespace lenskern::LENSKERN_ISA
