// One parser for the arguments of every hot function: METH_FASTCALL | METH_KEYWORDS, no Python frame,
// no tuple, no dictionary.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "../problem.hpp"
#include "python.hpp"
#include "shape.hpp"

namespace fastconv {

class Signature {
 public:
  // `positional` of the names may be given by position, the first `required` must be given.
  Signature(const char* function, std::vector<const char*> names, std::size_t positional, std::size_t required);

  const char* function() const { return function_; }
  // Borrowed references in `value`, null where an argument was left out.
  void parse(PyObject* const* args, Py_ssize_t positional, PyObject* keywords, PyObject** value) const;

 private:
  std::size_t find(PyObject* keyword) const;

  const char* function_;
  std::vector<PyObject*> names_;  // interned, kept for the life of the process
  std::size_t positional_, required_;
};

constexpr std::size_t kMostArguments = 16;

// The arguments of one call by position in the signature.
struct Arguments {
  std::array<PyObject*, kMostArguments> value{};
  PyObject* operator[](std::size_t i) const { return value[i]; }
  bool given(std::size_t i) const { return value[i] != nullptr && value[i] != Py_None; }
};

using AxisValues = std::array<Index, kSpatial>;

struct Padding {
  enum Kind { kExplicit, kValid, kSame, kSameLower } kind = kExplicit;
  bool is_same() const { return kind == kSame || kind == kSameLower; }
  AxisValues before{}, after{};
};

// Python objects to values; `name` is the argument's, for the message. An object that is null or, for
// most, None stands for the default.
Index to_index(PyObject* object, const char* name);
Index to_positive(PyObject* object, const char* name, Index otherwise);
bool to_bool(PyObject* object, const char* name, bool otherwise);
// Which of the options a str is; 0, the default, where the argument was left out.
std::size_t to_choice(PyObject* object, const char* name, std::initializer_list<const char*> options);
// An int or one for each of the `dims` spatial axes, each at least `least`.
AxisValues to_axes(PyObject* object, const char* name, int dims, Index least, Index otherwise);
Padding to_padding(PyObject* object, int dims);
bool to_channels_last(PyObject* object, int dims);
// 2 or ("max", 2), ("avg", 2), or None; ValueError for anything else.
OutputPool to_output_pool(PyObject* object);
std::array<bool, 3> to_mask(PyObject* object, const char* name);
std::vector<Index> to_shape(PyObject* object, const char* name, std::size_t least, std::size_t most);

[[gnu::cold]] std::string shape_text(ShapeView shape);

}  // namespace fastconv
