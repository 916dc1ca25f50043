#include "tests/matrix/trace.h"

#include <algorithm>
#include <cctype>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace mesh::test {
namespace {

// Replaces what follows `mark`, as long as `more` says so, by "_".
template <typename Predicate>
std::string Cut(std::string text, absl::string_view mark, Predicate more) {
  size_t at = 0;
  while ((at = text.find(std::string(mark), at)) != std::string::npos) {
    at += mark.size();
    size_t end = at;
    while (end < text.size() && more(text[end])) ++end;
    text.replace(at, end - at, "_");
  }
  return text;
}

bool IsDigit(char c) { return std::isdigit(static_cast<unsigned char>(c)); }

}  // namespace

std::string Normalized(absl::string_view text) {
  // A target may be written with its scheme or without.
  std::string result = absl::StrReplaceAll(text, {{"ipv4:", ""}});
  result = Cut(std::move(result), "127.0.0.1:", IsDigit);
  result = Cut(std::move(result), "127.0.0.1%3A", IsDigit);
  result = Cut(std::move(result), "\"fd\":", IsDigit);
  result = Cut(std::move(result), "created_time:\"",
               [](char c) { return c != '"'; });
  return result;
}

std::string DescribeDebug(absl::string_view text) {
  // What mesh adds to it, of a call that was retried.
  text = text.substr(0, text.find("; mesh: "));
  const std::string normal = Normalized(text);
  const size_t open = normal.find('{');
  if (open == std::string::npos) return normal;
  // The order in which attributes are printed is random.
  std::vector<std::string> parts =
      absl::StrSplit(normal.substr(open), absl::ByAnyChar("{,}"));
  for (std::string& part : parts) absl::StripAsciiWhitespace(&part);
  std::sort(parts.begin(), parts.end());
  return absl::StrCat(normal.substr(0, open), absl::StrJoin(parts, " "));
}

std::string Brief(absl::string_view bytes) {
  if (bytes.size() <= 200) return absl::CEscape(bytes);
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (unsigned char c : bytes) hash = (hash ^ c) * 1099511628211u;
  return absl::StrCat(bytes.size(), " bytes, hash ", absl::Hex(hash));
}

std::string Describe(const grpc::Status& status, bool with_message) {
  std::string text = absl::StrCat("status ", status.error_code());
  if (with_message) {
    absl::StrAppend(&text, " '", Brief(Normalized(status.error_message())),
                    "'");
  }
  absl::StrAppend(&text, " details '", Brief(status.error_details()), "'");
  return text;
}

std::string Describe(const Reply& reply) {
  std::string text =
      absl::StrCat("reply '", Brief(reply.payload()), "' after ",
                   reply.requests(), " requests of ", reply.bytes(), " bytes");
  if (!reply.has_seen()) return text;
  const Seen& seen = reply.seen();
  absl::StrAppend(&text, "; seen: authority ", Normalized(seen.authority()),
                  ", peer ", Normalized(seen.peer()),
                  seen.deadline_ms() < 0 ? ", no deadline" : ", a deadline",
                  ", compression '", seen.compression(), "', server '",
                  seen.server(), "', metadata {");
  for (const Header& header : seen.metadata()) {
    // A retry has it, and only a retry: looked at where retries are.
    if (header.key() == "grpc-previous-rpc-attempts") continue;
    absl::StrAppend(&text, header.key(), ": ", Brief(header.value()), "; ");
  }
  return absl::StrCat(text, "}");
}

std::string Describe(
    const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  std::string text = "{";
  for (const auto& [key, value] : metadata) {
    absl::StrAppend(
        &text, absl::string_view(key.data(), key.size()), ": ",
        Brief(Normalized(absl::string_view(value.data(), value.size()))), "; ");
  }
  return absl::StrCat(text, "}");
}

}  // namespace mesh::test
