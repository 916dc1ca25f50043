#ifndef TESTS_MATRIX_TRACE_H_
#define TESTS_MATRIX_TRACE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/status.h"
#include "tests/support/test_service.pb.h"

namespace mesh::test {

// What an application saw of a call, in order, as text without what differs
// from run to run (ports, times). Two traces that are equal mean that the
// application can't tell the calls apart.
using Trace = std::vector<std::string>;

// `text` with ports, file descriptors and times replaced by fixed words.
std::string Normalized(absl::string_view text);

// ClientContext::debug_error_string(), its attributes in a fixed order.
std::string DescribeDebug(absl::string_view text);

// Bytes in a form that fits into a line: short ones escaped, long ones as
// their number and hash.
std::string Brief(absl::string_view bytes);

std::string Describe(const grpc::Status& status, bool with_message = true);
std::string Describe(const Reply& reply);

// Sorted by key; the order of one key's values is kept.
std::string Describe(
    const std::multimap<grpc::string_ref, grpc::string_ref>& metadata);

}  // namespace mesh::test

#endif  // TESTS_MATRIX_TRACE_H_
