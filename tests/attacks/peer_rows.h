#ifndef MESH_TESTS_ATTACKS_PEER_ROWS_H_
#define MESH_TESTS_ATTACKS_PEER_ROWS_H_

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/security/verifier.h"
#include "tests/attacks/site.h"

// Attacks by certificates. Each one is tried by a client on a server, and by a
// server on a client.

namespace mesh::test {

// A peer, and what is known of it.
struct Trial {
  Shown shown;
  std::vector<std::string> crls;  // Those that the other end has.
};

// `side` is the end that the peer is at.
using MakeTrial =
    std::function<Trial(const Cast& cast, security::PeerSide side)>;

struct PeerRow {
  std::string name;
  MakeTrial bad;   // Must be refused.
  MakeTrial good;  // The nearest that must be admitted.
  // Peer patterns: whom the other end wants to have there.
  std::vector<std::string> wanted = {kCart};
};
inline void PrintTo(const PeerRow& row, std::ostream* out) { *out << row.name; }
inline std::string NameOfRow(const testing::TestParamInfo<PeerRow>& info) {
  return info.param.name;
}

std::vector<PeerRow> HandshakeRows();
std::vector<PeerRow> NameRows();
std::vector<PeerRow> RevocationRows();

}  // namespace mesh::test

#endif  // MESH_TESTS_ATTACKS_PEER_ROWS_H_
