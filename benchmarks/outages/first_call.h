#ifndef MESH_BENCHMARKS_OUTAGES_FIRST_CALL_H_
#define MESH_BENCHMARKS_OUTAGES_FIRST_CALL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/process/process.h"

namespace mesh::benchmarks {

// What became of the first call of a fresh client process.
struct FirstCall {
  int code = 0;  // A grpc::StatusCode.
  absl::Duration took;
  std::string by;  // "-" when no server answered.

  bool ok() const { return code == 0; }
};

// A client process that makes one call and stays until this object goes.
class FirstCaller {
 public:
  // Over mesh: `where` is the path of a configuration. Bare: it is addresses
  // with commas between.
  FirstCaller(const std::string& arm, const std::string& where,
              absl::Duration deadline);
  // Waits for the call to end.
  FirstCall Result();

 private:
  const absl::Duration deadline_;
  std::unique_ptr<test::Process> process_;
};

// `count` fresh clients, `at_once` of them at a time.
std::vector<FirstCall> FirstCalls(const std::string& arm,
                                  const std::string& where,
                                  absl::Duration deadline, int count,
                                  int at_once);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_OUTAGES_FIRST_CALL_H_
