// Steps as they come in: whole numbers and arrays, in an order that engines/native/compile.py shares.
#pragma once
#include "plan.hpp"

namespace anybit {

struct Array {
  enum class Type { Int8, UInt8, Int32, Float32, Float64 };
  Type type;
  std::vector<uint8_t> bytes;
};

// The numbers and arrays of one step, taken one after the other.
class Parts {
 public:
  Parts(std::vector<int64_t> ints, std::vector<Array> arrays) : ints_(std::move(ints)), arrays_(std::move(arrays)) {}
  int32_t next();
  int32_t count(int32_t most);  // a number from 0 to `most`
  template <class T>
  std::vector<T> array();
  void done();  // all were taken

 private:
  std::vector<int64_t> ints_;
  std::vector<Array> arrays_;
  size_t place_ = 0, array_ = 0;
};

int32_t small(int64_t n);
Tensor read_tensor(const std::vector<int64_t>& numbers);
Step read_step(int64_t kind, Parts parts);

}  // namespace anybit
