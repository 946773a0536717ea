#include "array.hpp"

#include <unistd.h>

#include <algorithm>
#include <memory>

#include "../memory.hpp"

namespace fastconv {
namespace {

std::string dtype_name(PyArrayObject* array) {
  const Ref text(PyObject_Str(reinterpret_cast<PyObject*>(PyArray_DESCR(array))));
  const char* utf8 = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  if (utf8 != nullptr) return utf8;
  PyErr_Clear();
  return "unknown";
}

Ref as_array(PyObject* object) {
  if (PyArray_Check(object)) return Ref::borrow(object);
  const bool only_dlpack =
      PyObject_HasAttrString(object, "__dlpack__") != 0 && PyObject_HasAttrString(object, "__array__") == 0;
  if (!only_dlpack) return checked(PyArray_FROM_O(object));
  const Ref numpy = checked(PyImport_ImportModule("numpy"));
  return checked(PyObject_CallMethod(numpy.get(), "from_dlpack", "O", object));
}

// The same, with the argument named in NumPy's complaint.
Ref as_named_array(PyObject* object, const char* name) {
  try {
    return as_array(object);
  } catch (const PythonError&) {
    const bool type_error = PyErr_ExceptionMatches(PyExc_TypeError) != 0;
    if (!type_error && PyErr_ExceptionMatches(PyExc_ValueError) == 0) throw;
    PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
    PyErr_Fetch(&type, &value, &traceback);
    const Ref owned_type(type), owned_value(value), owned_traceback(traceback);
    const Ref text(value == nullptr ? nullptr : PyObject_Str(value));
    const char* utf8 = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
    PyErr_Clear();
    const std::string message = std::string(name) + ": " + (utf8 == nullptr ? "not an array" : utf8);
    if (type_error) throw TypeError(message);
    throw ValueError(message);
  }
}

Precision precision_of(PyArrayObject* array, const char* name) {
  switch (PyArray_TYPE(array)) {
    case NPY_HALF:
      return Precision::kHalf;
    case NPY_FLOAT:
      return Precision::kSingle;
    case NPY_DOUBLE:
      return Precision::kDouble;
    default:
      break;
  }
  const std::string dtype = dtype_name(array);
  const std::string fix = PyArray_ISCOMPLEX(array)
                              ? "; convolve .real and .imag on their own"
                              : "; convert it first, for example " + std::string(name) + ".astype(np.float32)";
  throw TypeError(std::string(name) + ": expected an array of float32, float64 or float16, got dtype " + dtype + fix);
}

// Aligned, native, and stepping by whole elements: what the core's pointers assume.
bool readable(PyArrayObject* array, Precision precision) {
  if (!PyArray_ISBEHAVED_RO(array)) return false;
  const npy_intp part = (npy_intp{1} << element_shift(precision)) - 1;
  for (int i = 0; i < PyArray_NDIM(array); ++i) {
    if ((PyArray_STRIDE(array, i) & part) != 0) return false;
  }
  return true;
}

// The bytes from an array's first element to the end of its last, as they lie in memory.
struct Extent {
  Index first, end;
};

Extent extent_of(PyArrayObject* array) {
  const Index start = reinterpret_cast<Index>(PyArray_DATA(array));
  if (PyArray_SIZE(array) == 0) return {start, start};
  Extent extent{start, start + PyArray_ITEMSIZE(array)};
  for (int i = 0; i < PyArray_NDIM(array); ++i) {
    const Index reach = (PyArray_DIM(array, i) - 1) * PyArray_STRIDE(array, i);
    (reach < 0 ? extent.first : extent.end) += reach;
  }
  return extent;
}

// Arrays that lie apart need no more than a look. Of interleaved ones NumPy knows: exactly for all but contrived
// strides; for those it says yes.
bool overlap(PyArrayObject* a, PyArrayObject* b) {
  const Extent x = extent_of(a), y = extent_of(b);
  if (x.end <= y.first || y.end <= x.first) return false;
  const Ref numpy = checked(PyImport_ImportModule("numpy"));
  const Ref shared = checked(PyObject_CallMethod(numpy.get(), "may_share_memory", "OOi", a, b, 10000));
  return PyObject_IsTrue(shared.get()) != 0;
}

ShapeView shape_of(PyArrayObject* array) {
  return {PyArray_DIMS(array), static_cast<std::size_t>(PyArray_NDIM(array))};
}

// Two indices for one element, as broadcasting makes them.
bool repeats_elements(PyArrayObject* array) {
  if (PyArray_SIZE(array) == 0) return false;
  for (int i = 0; i < PyArray_NDIM(array); ++i) {
    if (PyArray_DIM(array, i) > 1 && PyArray_STRIDE(array, i) == 0) return true;
  }
  return false;
}

void check_out(PyObject* out, ShapeView shape, Precision precision, std::initializer_list<const Array*> inputs) {
  if (!PyArray_Check(out)) {
    throw TypeError(std::string("out: expected a numpy.ndarray, got ") + Py_TYPE(out)->tp_name);
  }
  PyArrayObject* array = reinterpret_cast<PyArrayObject*>(out);
  if (PyArray_TYPE(array) != numpy_type(precision)) {
    const Ref wanted(reinterpret_cast<PyObject*>(PyArray_DescrFromType(numpy_type(precision))));
    const Ref text = checked(PyObject_Str(wanted.get()));
    throw ValueError(std::string("out: expected dtype ") + PyUnicode_AsUTF8(text.get()) + ", got " + dtype_name(array));
  }
  if (!same_shape(shape_of(array), shape)) {
    throw ValueError("out: expected shape " + shape_text(shape) + ", got " + shape_text(shape_of(array)));
  }
  if (!PyArray_ISWRITEABLE(array)) throw ValueError("out: the array is read-only");
  if (repeats_elements(array)) throw ValueError("out: several indices share one element");
  for (const Array* input : inputs) {
    if (input == nullptr || !*input) continue;
    if (overlap(array, input->get())) {
      throw ValueError(std::string("out: overlaps ") + input->name());
    }
  }
}

}  // namespace

int numpy_type(Precision p) {
  return p == Precision::kHalf ? NPY_HALF : p == Precision::kSingle ? NPY_FLOAT : NPY_DOUBLE;
}

Array::Array(PyObject* object, const char* name) : name_(name) {
  if (object == Py_None) throw TypeError(std::string(name) + ": expected an array, got None");
  object_ = as_named_array(object, name);
  precision_ = precision_of(get(), name);
}

Array Array::share() const {
  Array copy;
  copy.object_ = Ref::borrow(object_.get());
  copy.name_ = name_;
  copy.precision_ = precision_;
  return copy;
}

void Array::become(Precision precision) {
  if (precision != precision_ || !readable(get(), precision)) convert(precision);
}

void Array::become_dense(Precision precision) {
  if (precision != precision_ || !PyArray_ISCARRAY_RO(get())) convert(precision);
}

void Array::convert(Precision precision) {
  // NumPy's own copy; the result is aligned, native and C-ordered.
  object_ =
      checked(PyArray_FROMANY(object_.get(), numpy_type(precision), 0, 0,
                              NPY_ARRAY_CARRAY_RO | NPY_ARRAY_NOTSWAPPED | NPY_ARRAY_FORCECAST | NPY_ARRAY_ENSURECOPY));
  precision_ = precision;
}

namespace {

// The array's base is a capsule that owns the block and gives it back to the pool.
struct OwnedBlock {
  void* memory;
  std::size_t size;
};
constexpr const char* kCapsule = "fastconv.block";

void release_capsule(PyObject* capsule) {
  auto* owned = static_cast<OwnedBlock*>(PyCapsule_GetPointer(capsule, kCapsule));
  if (owned == nullptr) return;
  recycle_block(owned->memory, owned->size);
  delete owned;
}

Ref recycled_array(ShapeView shape, int type, std::size_t bytes) {
  auto owned = std::make_unique<OwnedBlock>();
  owned->memory = acquire_block(bytes, owned->size);
  void* memory = owned->memory;
  Ref capsule(PyCapsule_New(owned.get(), kCapsule, release_capsule));
  if (!capsule) {
    recycle_block(owned->memory, owned->size);
    throw PythonError();
  }
  owned.release();
  Ref array = checked(PyArray_New(&PyArray_Type, static_cast<int>(shape.size()), shape.data(), type, nullptr, memory, 0,
                                  NPY_ARRAY_CARRAY, nullptr));
  if (PyArray_SetBaseObject(reinterpret_cast<PyArrayObject*>(array.get()), capsule.release()) != 0) {
    throw PythonError();
  }
  return array;
}

}  // namespace

Ref new_array(ShapeView shape, int type) {
  static const double memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
  double bytes = type == NPY_HALF ? 2 : type == NPY_FLOAT ? 4 : 8;
  for (const Index n : shape) bytes *= static_cast<double>(n);
  if (bytes > memory) {
    throw OutOfMemory("an output array of shape " + shape_text(shape) + " needs " +
                      std::to_string(static_cast<long long>(bytes / (1 << 20))) + " MiB, more than this machine has");
  }
  const int dims = static_cast<int>(shape.size());
  if (bytes < static_cast<double>(kRecycleFrom)) return checked(PyArray_SimpleNew(dims, shape.data(), type));
  return recycled_array(shape, type, static_cast<std::size_t>(bytes));
}

Ref to_indices(PyObject* object, const char* name, ShapeView shape) {
  Ref array = as_named_array(object, name);
  PyArrayObject* given = reinterpret_cast<PyArrayObject*>(array.get());
  if (!PyArray_ISINTEGER(given)) {
    throw TypeError(std::string(name) + ": expected int64 indices, got dtype " + dtype_name(given));
  }
  if (!same_shape(shape_of(given), shape)) {
    throw ValueError(std::string(name) + ": expected shape " + shape_text(shape) + ", got " +
                     shape_text(shape_of(given)));
  }
  return checked(PyArray_FROMANY(array.get(), NPY_INT64, 0, 0, NPY_ARRAY_CARRAY_RO | NPY_ARRAY_NOTSWAPPED));
}

void check_shape(const Array& array, ShapeView shape) {
  if (same_shape(array.shape(), shape)) return;
  throw ValueError(std::string(array.name()) + ": expected shape " + shape_text(shape) + ", got " +
                   shape_text(array.shape()));
}

Output::Output(PyObject* out, ShapeView shape, Precision precision, Precision computed,
               std::initializer_list<const Array*> inputs)
    : precision_(precision), computed_(computed) {
  if (out != nullptr && out != Py_None) {
    check_out(out, shape, precision, inputs);
    out_ = Ref::borrow(out);
    PyArrayObject* const array = reinterpret_cast<PyArrayObject*>(out);
    const bool dense = precision != Precision::kHalf || PyArray_IS_C_CONTIGUOUS(array);
    if (computed == precision && dense && readable(array, precision)) {
      written_ = Ref::borrow(out);
      return;
    }
  }
  written_ = new_array(shape, numpy_type(computed));
}

PyObject* Output::finish() {
  if (out_) {
    if (out_.get() != written_.get() && PyArray_CopyInto(reinterpret_cast<PyArrayObject*>(out_.get()), array()) != 0) {
      throw PythonError();
    }
    return out_.release();
  }
  if (computed_ != precision_) {
    return checked(PyArray_Cast(array(), NPY_HALF)).release();
  }
  return written_.release();
}

Shape ImageLayout::shape(Index n, Index c, const AxisValues& space) const {
  Shape result;
  if (batched) result.push_back(n);
  if (!channels_last) result.push_back(c);
  for (int i = 0; i < dims; ++i) result.push_back(space[static_cast<std::size_t>(kSpatial - dims + i)]);
  if (channels_last) result.push_back(c);
  return result;
}

ImageShape::ImageShape(ShapeView shape, const char* name, int dims, bool channels_last)
    : layout{dims, shape.size() == static_cast<std::size_t>(dims) + 2, channels_last} {
  if (!layout.batched && shape.size() != static_cast<std::size_t>(dims) + 1) {
    throw ValueError("Expected " + std::to_string(dims + 1) + "D (unbatched) or " + std::to_string(dims + 2) +
                     "D (batched) " + name + ", but got " + name + " of size: " + shape_text(shape));
  }
  if (layout.batched) batch = shape[0];
  channels = shape[static_cast<std::size_t>(layout.channel_axis())];
  for (int i = 0; i < dims; ++i) {
    space[static_cast<std::size_t>(kSpatial - dims + i)] = shape[static_cast<std::size_t>(layout.space_axis(i))];
  }
}

}  // namespace fastconv
