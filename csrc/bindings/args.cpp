#include "args.hpp"

#include <algorithm>

namespace fastconv {
namespace {

std::string type_name(PyObject* object) { return Py_TYPE(object)->tp_name; }

std::string repr(PyObject* object) {
  const Ref text(PyObject_Repr(object));
  const char* utf8 = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  if (utf8 == nullptr) {
    PyErr_Clear();
    return "an object of type " + type_name(object);
  }
  std::string result(utf8);
  if (result.size() > 80) result.replace(77, std::string::npos, "...");
  return result;
}

bool is_sequence(PyObject* object) {
  return !PyUnicode_Check(object) && !PyBytes_Check(object) && PySequence_Check(object) != 0;
}

// The items of a sequence; an error of its own __len__ or __getitem__ passes through.
std::vector<Ref> items(PyObject* object) {
  const Ref fast = checked(PySequence_Fast(object, "expected a sequence"));
  std::vector<Ref> result;
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(fast.get());
  result.reserve(static_cast<std::size_t>(n));
  for (Py_ssize_t i = 0; i < n; ++i) {
    result.push_back(Ref::borrow(PySequence_Fast_GET_ITEM(fast.get(), i)));
  }
  return result;
}

std::size_t first_axis(int dims) { return static_cast<std::size_t>(kSpatial - dims); }

Index at_least(Index value, const char* name, Index least) {
  if (value >= least) return value;
  const std::string kind = least > 0 ? "non-positive " : "negative ";
  throw ValueError(kind + name + " is not supported, got " + std::to_string(value));
}

}  // namespace

Signature::Signature(const char* function, std::vector<const char*> names, std::size_t positional, std::size_t required)
    : function_(function), positional_(positional), required_(required) {
  for (const char* name : names) names_.push_back(checked(PyUnicode_InternFromString(name)).release());
}

std::size_t Signature::find(PyObject* keyword) const {
  const auto same = std::find(names_.begin(), names_.end(), keyword);  // interned: nearly always
  if (same != names_.end()) return static_cast<std::size_t>(same - names_.begin());
  for (std::size_t i = 0; i < names_.size(); ++i) {
    if (PyUnicode_Compare(names_[i], keyword) == 0) return i;
  }
  throw TypeError(std::string(function_) + "() got an unexpected keyword argument " + repr(keyword));
}

void Signature::parse(PyObject* const* args, Py_ssize_t given, PyObject* keywords, PyObject** value) const {
  const std::size_t count = static_cast<std::size_t>(given);
  if (count > positional_) {
    throw TypeError(std::string(function_) + "() takes at most " + std::to_string(positional_) +
                    " positional arguments but " + std::to_string(count) + " were given");
  }
  std::copy_n(args, count, value);
  const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
  for (Py_ssize_t i = 0; i < named; ++i) {
    const std::size_t at = find(PyTuple_GET_ITEM(keywords, i));
    if (value[at] != nullptr) {
      throw TypeError(std::string(function_) + "() got multiple values for argument " + repr(names_[at]));
    }
    value[at] = args[given + i];
  }
  for (std::size_t i = 0; i < required_; ++i) {
    if (value[i] != nullptr) continue;
    throw TypeError(std::string(function_) + "() missing required argument: " + repr(names_[i]));
  }
}

Index to_index(PyObject* object, const char* name) {
  const Ref number(PyNumber_Index(object));
  if (!number) {
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw PythonError();
    PyErr_Clear();
    throw TypeError(std::string(name) + ": expected an int, got " + repr(object) + " of type " + type_name(object));
  }
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number.get(), &overflow);
  if (overflow != 0) throw ValueError(std::string(name) + ": " + repr(object) + " exceeds 64 bits");
  if (value == -1 && PyErr_Occurred() != nullptr) throw PythonError();
  return static_cast<Index>(value);
}

Index to_positive(PyObject* object, const char* name, Index otherwise) {
  return object == nullptr ? otherwise : at_least(to_index(object, name), name, 1);
}

bool to_bool(PyObject* object, const char* name, bool otherwise) {
  if (object == nullptr) return otherwise;
  if (PyBool_Check(object)) return object == Py_True;
  if (PyArray_IsScalar(object, Bool)) return PyObject_IsTrue(object) == 1;
  return to_index(object, name) != 0;  // torch takes 0 and 1 too
}

std::size_t to_choice(PyObject* object, const char* name, std::initializer_list<const char*> options) {
  if (object == nullptr) return 0;
  const bool text = PyUnicode_Check(object);
  for (std::size_t i = 0; text && i < options.size(); ++i) {
    if (PyUnicode_CompareWithASCIIString(object, options.begin()[i]) == 0) return i;
  }
  std::string expected;
  for (const char* option : options) {
    const bool last = option == options.end()[-1];
    expected += (expected.empty() ? "'" : last ? " or '" : ", '") + std::string(option) + "'";
  }
  const std::string message = std::string(name) + ": expected " + expected + ", got " + repr(object);
  if (text) throw ValueError(message);
  throw TypeError(message);
}

AxisValues to_axes(PyObject* object, const char* name, int dims, Index least, Index otherwise) {
  AxisValues values;
  values.fill(least == 0 ? 0 : 1);
  const std::size_t first = first_axis(dims);
  if (object == nullptr || PyLong_Check(object) || !is_sequence(object)) {
    const Index value = object == nullptr ? otherwise : at_least(to_index(object, name), name, least);
    std::fill(values.begin() + static_cast<std::ptrdiff_t>(first), values.end(), value);
    return values;
  }
  const std::vector<Ref> each = items(object);
  if (each.size() != static_cast<std::size_t>(dims)) {
    throw ValueError(std::string(name) + ": expected an int or " + std::to_string(dims) + " ints, got " + repr(object));
  }
  for (std::size_t i = 0; i < each.size(); ++i) {
    values[first + i] = at_least(to_index(each[i].get(), name), name, least);
  }
  return values;
}

Padding to_padding(PyObject* object, int dims) {
  Padding padding;
  if (object == nullptr) return padding;
  if (PyUnicode_Check(object)) {
    constexpr Padding::Kind kinds[] = {Padding::kValid, Padding::kSame, Padding::kSameLower};
    padding.kind = kinds[to_choice(object, "padding", {"valid", "same", "same_lower"})];
    return padding;
  }
  const std::size_t first = first_axis(dims);
  std::vector<Ref> each;
  if (!PyLong_Check(object) && is_sequence(object)) each = items(object);
  const bool pairs = std::any_of(each.begin(), each.end(), [](const Ref& r) { return is_sequence(r.get()); });
  if (!pairs) {
    padding.before = padding.after = to_axes(object, "padding", dims, 0, 0);
    return padding;
  }
  if (each.size() != static_cast<std::size_t>(dims)) {
    throw ValueError("padding: expected a (before, after) pair for each of the " + std::to_string(dims) +
                     " spatial axes, got " + repr(object));
  }
  for (std::size_t i = 0; i < each.size(); ++i) {
    if (!is_sequence(each[i].get()) || PySequence_Size(each[i].get()) != 2) {
      PyErr_Clear();
      throw ValueError("padding: expected (before, after) pairs, got " + repr(object));
    }
    const std::vector<Ref> pair = items(each[i].get());
    padding.before[first + i] = at_least(to_index(pair[0].get(), "padding"), "padding", 0);
    padding.after[first + i] = at_least(to_index(pair[1].get(), "padding"), "padding", 0);
  }
  return padding;
}

bool to_channels_last(PyObject* object, int dims) {
  static const char* const first[] = {"NCL", "NCHW", "NCDHW"};
  static const char* const last[] = {"NLC", "NHWC", "NDHWC"};
  return to_choice(object, "data_format", {first[dims - 1], last[dims - 1]}) == 1;
}

OutputPool to_output_pool(PyObject* object) {
  if (object == nullptr || object == Py_None) return OutputPool::kNone;
  OutputPool pool = OutputPool::kMax;
  Ref size = Ref::borrow(object);
  if (is_sequence(object) && PySequence_Size(object) == 2) {
    const std::vector<Ref> each = items(object);
    const auto is = [&](const char* name) {
      return PyUnicode_Check(each[0].get()) && PyUnicode_CompareWithASCIIString(each[0].get(), name) == 0;
    };
    pool = is("max") ? OutputPool::kMax : is("avg") ? OutputPool::kAverage : OutputPool::kNone;
    size = Ref::borrow(each[1].get());
  }
  const Ref number(PyNumber_Index(size.get()));
  if (!number) PyErr_Clear();
  if (pool != OutputPool::kNone && number && PyLong_AsLongLong(number.get()) == 2) return pool;
  PyErr_Clear();
  throw ValueError("pool: expected 2 or ('max', 2) for maxima, ('avg', 2) for averages, or None, got " + repr(object));
}

std::array<bool, 3> to_mask(PyObject* object, const char* name) {
  std::array<bool, 3> mask{true, true, true};
  if (object == nullptr) return mask;
  if (!is_sequence(object)) throw TypeError(std::string(name) + ": expected three bools, got " + repr(object));
  const std::vector<Ref> each = items(object);
  if (each.size() != 3) throw ValueError(std::string(name) + ": expected three bools, got " + repr(object));
  for (std::size_t i = 0; i < 3; ++i) mask[i] = to_bool(each[i].get(), name, true);
  return mask;
}

std::vector<Index> to_shape(PyObject* object, const char* name, std::size_t least, std::size_t most) {
  if (PyLong_Check(object) || !is_sequence(object)) {
    throw TypeError(std::string(name) + ": expected a shape (a tuple of ints), got " + repr(object));
  }
  std::vector<Index> shape;
  for (const Ref& item : items(object)) {
    const Index n = to_index(item.get(), name);
    if (n < 0) throw ValueError(std::string(name) + ": negative dimension in " + repr(object));
    shape.push_back(n);
  }
  if (shape.size() < least || shape.size() > most) {
    throw ValueError(std::string(name) + ": expected " + std::to_string(least) +
                     (least == most ? "" : " or " + std::to_string(most)) + " dimensions, got " + repr(object));
  }
  return shape;
}

std::string shape_text(ShapeView shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace fastconv
