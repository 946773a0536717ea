// From Python objects to arrays that the core can read, and back.
#pragma once

#include "args.hpp"
#include "python.hpp"

namespace fastconv {

// Ordered: NumPy's promotion among these three is the maximum.
enum class Precision { kHalf, kSingle, kDouble };

// From bytes to elements by a shift: NumPy counts strides in bytes, and each 64-bit division that is saved is time that
// a small convolution would notice.
constexpr int element_shift(Precision p) { return p == Precision::kHalf ? 1 : p == Precision::kSingle ? 2 : 3; }

// An array of floats, aligned and of native byte order, of any strides that are whole elements.
class Array {
 public:
  Array() = default;
  // Anything np.asarray takes, and objects with only __dlpack__; TypeError for other dtypes.
  Array(PyObject* object, const char* name);

  // Another reference to the same array.
  Array share() const;

  explicit operator bool() const { return static_cast<bool>(object_); }
  PyArrayObject* get() const { return reinterpret_cast<PyArrayObject*>(object_.get()); }
  const char* name() const { return name_; }
  Precision precision() const { return precision_; }
  int ndim() const { return PyArray_NDIM(get()); }
  Index dim(int i) const { return PyArray_DIM(get(), i); }
  ShapeView shape() const { return {PyArray_DIMS(get()), static_cast<std::size_t>(ndim())}; }
  // In elements.
  Index stride(int i) const { return PyArray_STRIDE(get(), i) >> element_shift(precision_); }
  template <class T>
  const T* data() const {
    return static_cast<const T*>(PyArray_DATA(get()));
  }

  // Converts where the array is of another precision, misaligned or byte-swapped.
  void become(Precision precision);
  // The same, and C-contiguous afterwards.
  void become_dense(Precision precision);

 private:
  void convert(Precision precision);

  Ref object_;
  const char* name_ = "";
  Precision precision_ = Precision::kSingle;
};

// What to compute in: half goes through single.
inline Precision compute_precision(Precision p) { return p == Precision::kHalf ? Precision::kSingle : p; }
int numpy_type(Precision p);

// Calls f with a float or a double, for its type.
template <class F>
auto with_type(Precision p, F&& f) {
  return compute_precision(p) == Precision::kDouble ? f(double{}) : f(float{});
}

// ValueError unless the array has that shape.
void check_shape(const Array& array, ShapeView shape);

// An array to write results to: fresh, or the caller's `out`.
class Output {
 public:
  // `out` may be null or None. Checks it: ValueError unless shape and dtype are right, it is writable
  // and overlaps none of `inputs`, which must still be the caller's arrays, not yet converted.
  Output(PyObject* out, ShapeView shape, Precision precision, std::initializer_list<const Array*> inputs)
      : Output(out, shape, precision, compute_precision(precision), inputs) {}
  // Of the precision that is computed in, half too: then the core writes a C-contiguous array.
  Output(PyObject* out, ShapeView shape, Precision precision, Precision computed,
         std::initializer_list<const Array*> inputs);

  // Of the array that the core writes: computing precision, aligned, native.
  Index stride(int i) const { return PyArray_STRIDE(array(), i) >> element_shift(computed_); }
  template <class T>
  T* data() const {
    return static_cast<T*>(PyArray_DATA(array()));
  }
  // The result for the caller; converts or copies where the core wrote elsewhere.
  PyObject* finish();

 private:
  PyArrayObject* array() const { return reinterpret_cast<PyArrayObject*>(written_.get()); }

  Ref written_;
  Ref out_;  // the caller's, if any
  Precision precision_, computed_;
};

// A C-contiguous array; MemoryError if the machine could not hold it.
Ref new_array(ShapeView shape, int type);

// int64 indices, contiguous, of the given shape; ValueError or TypeError otherwise.
Ref to_indices(PyObject* object, const char* name, ShapeView shape);

// The strides of an array of (N,) C, spatial axes in either format. Missing axes have stride 0.
struct ImageLayout {
  int dims;
  bool batched, channels_last;

  int channel_axis() const { return (batched ? 1 : 0) + (channels_last ? dims : 0); }
  int space_axis(int i) const { return (batched ? 1 : 0) + (channels_last ? 0 : 1) + i; }
  Shape shape(Index n, Index c, const AxisValues& space) const;

  template <class A>
  ImageStrides strides(const A& array, Index channels_per_group) const {
    ImageStrides s;
    if (batched) s.batch = array.stride(0);
    s.channel = array.stride(channel_axis());
    s.group = s.channel * channels_per_group;
    for (int i = 0; i < dims; ++i) {
      s.space[static_cast<std::size_t>(kSpatial - dims + i)] = array.stride(space_axis(i));
    }
    return s;
  }
};

// (N,) C and spatial sizes of an array, checked to have dims + 1 or dims + 2 axes.
struct ImageShape {
  ImageLayout layout;
  Index batch = 1, channels = 0;
  AxisValues space{1, 1, 1};

  ImageShape(ShapeView shape, const char* name, int dims, bool channels_last);
};

}  // namespace fastconv
