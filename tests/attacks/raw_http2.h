#ifndef MESH_TESTS_ATTACKS_RAW_HTTP2_H_
#define MESH_TESTS_ATTACKS_RAW_HTTP2_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/attacks/raw_tls.h"

// A client of HTTP/2 (RFC 9113) that sends any header, on any link.

namespace mesh::test {

using RawHeaders = std::vector<std::pair<std::string, std::string>>;

// How a call ended.
struct RawEnd {
  // The gRPC status. -1: none came, because the stream was reset or the
  // connection closed. A gRPC client says UNAVAILABLE or INTERNAL then.
  int status = -1;
  std::string message;
  // For a test's message.
  std::string text() const;
};

class RawHttp2 {
 public:
  // `link` outlives this.
  explicit RawHttp2(RawLink* link);

  // One call with an empty message; `headers` come behind those that each call
  // of gRPC has.
  RawEnd Call(absl::string_view path, const RawHeaders& headers = {});
  // One call with these headers and no others.
  RawEnd CallWith(const RawHeaders& headers);

 private:
  // Answers what has to be answered, until `stream` has ended.
  RawEnd ReadUntilEnd(uint32_t stream);
  // False: the connection is gone.
  bool ReadFrame(uint8_t* type, uint8_t* flags, uint32_t* stream,
                 std::string* payload);

  RawLink& link_;
  std::string read_;
  uint32_t next_stream_ = 1;
};

// The literals of a header block (RFC 7541). A name that stands in the static
// table is empty, and a value in Huffman code is as it came. gRPC writes all
// that it sends so, where the dynamic table has no room.
RawHeaders LiteralsOf(absl::string_view block);

}  // namespace mesh::test

#endif  // MESH_TESTS_ATTACKS_RAW_HTTP2_H_
