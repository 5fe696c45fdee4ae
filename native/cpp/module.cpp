// The boundary to Python, by the limited API: what comes in is checked, what is wrong is an exception of Python, and
// none of C++ goes out.
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

#include "read.hpp"

namespace {

using namespace anybit;

// An exception of Python is set.
struct Raised {};

class Reference {
 public:
  explicit Reference(PyObject* object) : object_(object) {
    if (object == nullptr) throw Raised();
  }
  Reference(const Reference&) = delete;
  Reference& operator=(const Reference&) = delete;
  ~Reference() { Py_DecRef(object_); }
  PyObject* get() const { return object_; }
  PyObject* release() {
    PyObject* object = object_;
    object_ = nullptr;
    return object;
  }

 private:
  PyObject* object_;
};

class View {
 public:
  View() = default;
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View() {
    if (held_) PyBuffer_Release(&buffer);
  }
  bool open(PyObject* object, int flags) {
    held_ = PyObject_GetBuffer(object, &buffer, flags) == 0;
    return held_;
  }
  Py_buffer buffer{};

 private:
  bool held_ = false;
};

int64_t integer(PyObject* object) {
  const long long n = PyLong_AsLongLong(object);
  if (n == -1 && PyErr_Occurred()) throw Raised();
  return n;
}

std::vector<int64_t> integers(PyObject* sequence) {
  Reference tuple(PySequence_Tuple(sequence));
  std::vector<int64_t> found;
  for (Py_ssize_t i = 0; i < PyTuple_Size(tuple.get()); i++) found.push_back(integer(PyTuple_GetItem(tuple.get(), i)));
  return found;
}

Array::Type type_of(const Py_buffer& b) {
  const char* format = b.format == nullptr ? "B" : b.format;
  if (*format == '@' || *format == '=' || *format == '<') format++;
  const bool one = *format != 0 && format[1] == 0;
  if (one && *format == 'b' && b.itemsize == 1) return Array::Type::Int8;
  if (one && *format == 'B' && b.itemsize == 1) return Array::Type::UInt8;
  if (one && (*format == 'i' || *format == 'l') && b.itemsize == 4) return Array::Type::Int32;
  if (one && *format == 'f' && b.itemsize == 4) return Array::Type::Float32;
  if (one && *format == 'd' && b.itemsize == 8) return Array::Type::Float64;
  throw Invalid("an array of another element type");
}

std::vector<Array> arrays_of(PyObject* sequence) {
  Reference tuple(PySequence_Tuple(sequence));
  std::vector<Array> found;
  for (Py_ssize_t i = 0; i < PyTuple_Size(tuple.get()); i++) {
    View view;
    if (!view.open(PyTuple_GetItem(tuple.get(), i), PyBUF_ND | PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)) throw Raised();
    const uint8_t* from = static_cast<const uint8_t*>(view.buffer.buf);
    found.push_back({type_of(view.buffer), {from, from + view.buffer.len}});
  }
  return found;
}

std::string text(PyObject* object) {
  Py_ssize_t size = 0;
  const char* utf8 = PyUnicode_AsUTF8AndSize(object, &size);
  if (utf8 == nullptr) throw Raised();
  return {utf8, static_cast<size_t>(size)};
}

PyObject* item(PyObject* tuple, Py_ssize_t index, Py_ssize_t size) {
  if (!PyTuple_Check(tuple) || PyTuple_Size(tuple) != size) throw Invalid("a tuple of another length");
  return PyTuple_GetItem(tuple, index);
}

std::vector<Port> ports_of(PyObject* sequence) {
  Reference tuple(PySequence_Tuple(sequence));
  std::vector<Port> found;
  for (Py_ssize_t i = 0; i < PyTuple_Size(tuple.get()); i++) {
    PyObject* port = PyTuple_GetItem(tuple.get(), i);
    std::vector<int64_t> shape = integers(item(port, 2, 3));
    if (shape.size() > 15) throw Invalid("a port of too many axes");
    found.push_back({text(item(port, 0, 3)), small(integer(item(port, 1, 3))), std::move(shape)});
  }
  return found;
}

struct Net {
  PyObject_HEAD
  Plan* plan;
  PyObject *input_names, *output_names, *empty, *float32;
  int threads;
};

template <class F>
PyObject* guarded(F&& f) {
  try {
    return f();
  } catch (const Raised&) {
  } catch (const Invalid& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyObject* names_of(const std::vector<Port>& ports) {
  Reference tuple(PyTuple_New(static_cast<Py_ssize_t>(ports.size())));
  for (size_t i = 0; i < ports.size(); i++) {
    PyObject* name = PyUnicode_FromStringAndSize(ports[i].name.data(), static_cast<Py_ssize_t>(ports[i].name.size()));
    if (name == nullptr) throw Raised();
    PyUnicode_InternInPlace(&name);
    PyTuple_SetItem(tuple.get(), static_cast<Py_ssize_t>(i), name);
  }
  return tuple.release();
}

PyObject* net_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guarded([&]() -> PyObject* {
    PyObject *tensors, *steps, *inputs, *outputs, *empty, *float32, *name;
    long long arena;
    int threads;
    if (kwargs != nullptr && PyDict_Size(kwargs) > 0) throw Invalid("arguments by name");
    if (!PyArg_ParseTuple(args, "OOOOLOOUi", &tensors, &steps, &inputs, &outputs, &arena, &empty, &float32, &name, &threads))
      throw Raised();
    auto plan = std::make_unique<Plan>();
    if (!PyCallable_Check(empty)) throw Invalid("nothing that makes arrays");
    if (threads < 1 || threads > 1024) throw Invalid("a number of threads");
    plan->arena = arena;
    plan->kernels = kernels_named(text(name));
    if (plan->kernels == nullptr) throw Invalid("the processor has no such path");
    Reference all(PySequence_Tuple(tensors));
    for (Py_ssize_t i = 0; i < PyTuple_Size(all.get()); i++) {
      plan->tensors.push_back(read_tensor(integers(PyTuple_GetItem(all.get(), i))));
    }
    Reference layers(PySequence_Tuple(steps));
    for (Py_ssize_t i = 0; i < PyTuple_Size(layers.get()); i++) {
      PyObject* step = PyTuple_GetItem(layers.get(), i);
      const int64_t kind = integer(item(step, 0, 3));
      plan->steps.push_back(read_step(kind, Parts(integers(item(step, 1, 3)), arrays_of(item(step, 2, 3)))));
    }
    plan->inputs = ports_of(inputs);
    plan->outputs = ports_of(outputs);
    finish(*plan);
    Reference input_names(names_of(plan->inputs)), output_names(names_of(plan->outputs));
    const allocfunc allocate = reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc));
    Reference made(allocate(type, 0));
    Net* net = reinterpret_cast<Net*>(made.get());
    Py_IncRef(empty);
    Py_IncRef(float32);
    net->plan = plan.release();
    net->input_names = input_names.release();
    net->output_names = output_names.release();
    net->empty = empty;
    net->float32 = float32;
    net->threads = threads;
    return made.release();
  });
}

void net_dealloc(PyObject* self) {
  Net* net = reinterpret_cast<Net*>(self);
  PyTypeObject* type = Py_TYPE(self);
  delete net->plan;
  for (PyObject* held : {net->input_names, net->output_names, net->empty, net->float32}) Py_DecRef(held);
  reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(self);
  Py_DecRef(reinterpret_cast<PyObject*>(type));
}

constexpr size_t kFew = 8;  // ports that need no memory of their own

// Whether an array is what a port takes: float32 of this machine, in order, of its shape; with the number of samples.
bool fits(const Py_buffer& b, const Port& port, int64_t* samples) {
  if (b.itemsize != 4 || b.format == nullptr || b.format[0] != 'f' || b.format[1] != 0) return false;
  if (b.ndim != static_cast<int>(port.shape.size()) + 1) return false;
  for (size_t i = 0; i < port.shape.size(); i++)
    if (b.shape[i + 1] != port.shape[i]) return false;
  if (*samples >= 0 && *samples != b.shape[0]) return false;
  *samples = b.shape[0];
  return reinterpret_cast<uintptr_t>(b.buf) % alignof(float) == 0;
}

PyObject* output_array(Net* net, const Port& port, int64_t samples) {
  const Py_ssize_t rank = static_cast<Py_ssize_t>(port.shape.size()) + 1;
  Reference shape(PyTuple_New(rank));
  for (Py_ssize_t i = 0; i < rank; i++) {
    PyObject* n = PyLong_FromLongLong(i == 0 ? samples : port.shape[i - 1]);
    if (n == nullptr) throw Raised();
    PyTuple_SetItem(shape.get(), i, n);
  }
  return PyObject_CallFunctionObjArgs(net->empty, shape.get(), net->float32, nullptr);
}

// A dict of outputs; NotImplemented where the feeds are not such as are taken here, None where a real number has no
// level. To `nanoseconds`, where it is given, the time of each step is added.
PyObject* outputs_of(Net* net, PyObject* feeds, int64_t* nanoseconds) {
  return guarded([&]() -> PyObject* {
    const Plan& plan = *net->plan;
    const size_t given = plan.inputs.size(), wanted = plan.outputs.size();
    const auto not_taken = []() {
      PyErr_Clear();
      Py_IncRef(Py_NotImplemented);
      return Py_NotImplemented;
    };
    if (given > kFew || wanted > kFew) throw Invalid("too many inputs or outputs");
    if (!PyDict_Check(feeds) || PyDict_Size(feeds) != static_cast<Py_ssize_t>(given)) return not_taken();
    View views[2 * kFew];
    const float* inputs[kFew];
    float* outputs[kFew];
    int64_t samples = -1;
    for (size_t i = 0; i < given; i++) {
      PyObject* x = PyDict_GetItemWithError(feeds, PyTuple_GetItem(net->input_names, static_cast<Py_ssize_t>(i)));
      if (x == nullptr && PyErr_Occurred()) throw Raised();
      if (x == nullptr || !views[i].open(x, PyBUF_ND | PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)) return not_taken();
      if (!fits(views[i].buffer, plan.inputs[i], &samples)) return not_taken();
      inputs[i] = static_cast<const float*>(views[i].buffer.buf);
    }
    Reference result(PyDict_New());
    for (size_t i = 0; i < wanted; i++) {
      Reference y(output_array(net, plan.outputs[i], samples));
      View& view = views[kFew + i];
      if (!view.open(y.get(), PyBUF_ND | PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)) throw Raised();
      int64_t made = samples;
      if (!fits(view.buffer, plan.outputs[i], &made)) throw Invalid("an output of another shape");
      outputs[i] = static_cast<float*>(view.buffer.buf);
      if (PyDict_SetItem(result.get(), PyTuple_GetItem(net->output_names, static_cast<Py_ssize_t>(i)), y.get()) < 0) throw Raised();
    }
    bool good = true, exhausted = false;
    if (samples > 0) {
      Py_BEGIN_ALLOW_THREADS
      try {
        good = execute(plan, {inputs, outputs}, samples, net->threads, nanoseconds);
      } catch (const std::exception&) {
        exhausted = true;
      }
      Py_END_ALLOW_THREADS
    }
    if (exhausted) throw std::bad_alloc();
    if (!good) {
      Py_IncRef(Py_None);
      return Py_None;
    }
    return result.release();
  });
}

// run(feeds): what `outputs_of` gives.
PyObject* net_run(PyObject* self, PyObject* feeds) { return outputs_of(reinterpret_cast<Net*>(self), feeds, nullptr); }

// times(feeds): how many nanoseconds each step takes, in one thread; None where feeds are not run.
PyObject* net_times(PyObject* self, PyObject* feeds) {
  return guarded([&]() -> PyObject* {
    Net* net = reinterpret_cast<Net*>(self);
    std::vector<int64_t> spent(net->plan->steps.size());
    Reference outputs(outputs_of(net, feeds, spent.data()));
    if (!PyDict_Check(outputs.get())) {
      Py_IncRef(Py_None);
      return Py_None;
    }
    Reference tuple(PyTuple_New(static_cast<Py_ssize_t>(spent.size())));
    for (size_t i = 0; i < spent.size(); i++) {
      PyObject* n = PyLong_FromLongLong(spent[i]);
      if (n == nullptr) throw Raised();
      PyTuple_SetItem(tuple.get(), static_cast<Py_ssize_t>(i), n);
    }
    return tuple.release();
  });
}

PyObject* module_isa(PyObject*, PyObject*) {
  return guarded([]() { return PyUnicode_FromString(usable_kernels().front()->name); });
}

PyObject* names_of(const std::vector<const Kernels*>& paths) {
  Reference tuple(PyTuple_New(static_cast<Py_ssize_t>(paths.size())));
  for (size_t i = 0; i < paths.size(); i++) {
    PyObject* name = PyUnicode_FromString(paths[i]->name);
    if (name == nullptr) throw Raised();
    PyTuple_SetItem(tuple.get(), static_cast<Py_ssize_t>(i), name);
  }
  return tuple.release();
}

PyObject* module_isas(PyObject*, PyObject*) {
  return guarded([]() { return names_of(usable_kernels()); });
}

PyObject* module_departing(PyObject*, PyObject*) {
  return guarded([]() { return names_of(departing_kernels()); });
}

PyMethodDef net_methods[] = {
    {"run", net_run, METH_O, "The outputs by name for a dict of arrays; NotImplemented or None where it cannot."},
    {"times", net_times, METH_O, "Nanoseconds of each step of one run, in one thread; None where it cannot be run."},
    {nullptr, nullptr, 0, nullptr}};

PyType_Slot net_slots[] = {{Py_tp_new, reinterpret_cast<void*>(net_new)},
                           {Py_tp_dealloc, reinterpret_cast<void*>(net_dealloc)},
                           {Py_tp_methods, net_methods},
                           {Py_tp_doc, const_cast<char*>("A plan that kernels can run.")},
                           {0, nullptr}};

PyType_Spec net_spec = {"anybit_kernels.Net", sizeof(Net), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, net_slots};

PyMethodDef methods[] = {{"isa", module_isa, METH_NOARGS, "The best path that the processor has."},
                         {"isas", module_isas, METH_NOARGS, "All paths that it has, the best one first."},
                         {"departing", module_departing, METH_NOARGS, "Those whose results are wrong here: not used."},
                         {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernels", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__kernels() {
  PyObject* module = PyModule_Create(&definition);
  if (module == nullptr) return nullptr;
  PyObject* type = PyType_FromSpec(&net_spec);
  if (type == nullptr || PyModule_AddObjectRef(module, "Net", type) < 0 ||
      PyModule_AddStringConstant(module, "version", ANYBIT_KERNELS_VERSION) < 0) {
    Py_DecRef(type);
    Py_DecRef(module);
    return nullptr;
  }
  Py_DecRef(type);
  return module;
}
