#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mesh/base/random.h"
#include "mesh/certs/authority.h"
#include "mesh/security/certificate.h"
#include "mesh/security/pem.h"
#include "mesh/security/testing/certificates.h"
#include "mesh/security/verifier.h"

// Random chains, judged by mesh and by another library. GnuTLS shares no line
// with OpenSSL, so an error of one is seldom one of the other.
//
// mesh refuses more than GnuTLS does. The other way round is an error, but for
// what Exception() lists.

namespace mesh::security {
namespace {

using base::Random;
using testing::Der;
using testing::Must;

constexpr int kChains = 2000;
constexpr char kCart[] = "spiffe://prod/cart";

// A chain, and what it was made of.
struct Sample {
  std::string chain;  // PEM, the leaf first.
  std::string bundle;
  PeerSide side = PeerSide::kServer;
  std::string story;  // For whoever looks into a difference.
};

// Makes chains that are good but for a few changes, by the seed alone; keys and
// signatures differ from run to run.
class Chains {
 public:
  explicit Chains(absl::Time now) : now_(now) {
    for (int i = 0; i < 6; ++i) AddKey(certs::KeyType::kP256, 0);
    for (int i = 0; i < 2; ++i) {
      AddKey(certs::KeyType::kP384, 0);
      AddKey(certs::KeyType::kEd25519, 0);
      AddKey(certs::KeyType::kRsa, 2048);
    }
    AddKey(certs::KeyType::kRsa, 1024);
  }

  Sample Make(uint64_t seed) {
    random_ = Random(seed);
    sample_ = Sample();
    sample_.side = Chance(50) ? PeerSide::kServer : PeerSide::kClient;
    Say(sample_.side == PeerSide::kServer ? "server" : "client");
    certs::CertificateOptions root_options = Authority("root");
    const certs::Authority root =
        Must(certs::Authority::MakeRoot(root_options, AnyKey()));
    certs::Authority issuer = root;
    std::vector<std::string> others;
    const int depth = static_cast<int>(random_.Below(5));
    Say(absl::StrCat("depth ", depth));
    for (int i = 0; i < depth; ++i) {
      const std::string name = absl::StrCat("level ", i);
      const certs::Key key = AnyKey();
      const certs::Authority next =
          Must(issuer.MakeIntermediate(Authority(name), key));
      others.push_back(next.pem());
      if (Rarely("crossed")) {
        // One of the same name and key, with dates and usage of its own.
        others.push_back(
            Must(issuer.MakeIntermediate(Authority(name), key)).pem());
      }
      issuer = Rarely("other key")
                   ? Must(issuer.MakeIntermediate(Authority(name), AnyKey()))
                   : next;
    }
    const std::string leaf = Must(issuer.Certify(Leaf(), AnyKey()));
    if (Rarely("with root")) others.push_back(root.pem());
    Disorder(&others);
    sample_.chain = leaf;
    for (const std::string& other : others) sample_.chain += other;
    sample_.bundle = Bundle(root, root_options);
    return std::move(sample_);
  }

 private:
  void AddKey(certs::KeyType type, int bits) {
    keys_.push_back(Must(certs::Key::Make(type, bits)));
  }
  // All but the last are good.
  certs::Key AnyKey() {
    if (Chance(2)) {
      Say("rsa 1024");
      return keys_.back();
    }
    return keys_[random_.Below(static_cast<uint32_t>(keys_.size() - 1))];
  }
  bool Chance(uint32_t percent) { return random_.Below(100) < percent; }
  bool Rarely(absl::string_view what) {
    if (!Chance(4)) return false;
    Say(what);
    return true;
  }
  void Say(absl::string_view what) {
    absl::StrAppend(&sample_.story, sample_.story.empty() ? "" : ", ", what);
  }

  void ChangeDates(certs::CertificateOptions* options) {
    // Far from now: both programs look at their own time.
    if (Rarely("expired")) options->not_after = now_ - absl::Hours(24);
    if (Rarely("future")) options->not_before = now_ + absl::Hours(24);
  }

  certs::CertificateOptions Authority(const std::string& name) {
    Say(absl::StrCat("[", name));
    certs::CertificateOptions options = certs::AuthorityOptions(
        name, now_ - absl::Hours(72), now_ + absl::Hours(72));
    ChangeDates(&options);
    if (Rarely("no CA")) options.authority = false;
    if (Rarely("no certSign")) options.key_usage = certs::kCrlSign;
    if (Rarely("no usage")) options.key_usage = 0;
    if (options.authority && Chance(15)) {
      options.path_length = static_cast<int>(random_.Below(4));
      Say(absl::StrCat("path length ", options.path_length));
    }
    if (Rarely("server only")) options.purposes = {"serverAuth"};
    if (Rarely("client only")) options.purposes = {"clientAuth"};
    if (Rarely("both purposes"))
      options.purposes = {"serverAuth", "clientAuth"};
    if (Rarely("sha1")) options.digest = certs::Digest::kSha1;
    if (Chance(8)) options.extensions.push_back(Constraints());
    ChangeExtensions(&options);
    Say("]");
    return options;
  }

  void ChangeExtensions(certs::CertificateOptions* options) {
    if (Rarely("unknown")) {
      options->extensions.push_back(
          {"1.3.6.1.4.1.99999.1", Chance(50), Der(0x05, "")});
      if (options->extensions.back().critical) Say("critical");
    }
    if (Rarely("policies")) {
      options->extensions.push_back(
          {"2.5.29.32", Chance(50),
           Der(testing::kSequence,
               Der(testing::kSequence,
                   testing::DerOid("1.3.6.1.4.1.99999.2")))});
    }
    if (Rarely("policy constraints")) {
      options->extensions.push_back(
          {"2.5.29.36", true,
           Der(testing::kSequence, Der(0x80, absl::string_view("\0", 1)))});
    }
  }

  certs::Extension Constraints() {
    static constexpr const char* kHosts[] = {"prod", "test", "cart.prod",
                                             "evil.prod"};
    const std::string host = kHosts[random_.Below(4)];
    const bool dns = Chance(50);
    const bool permitted = Chance(50);
    Say(absl::StrCat(permitted ? "permitted " : "excluded ",
                     dns ? "dns " : "uri ", host));
    const std::string name =
        Der(dns ? testing::kDnsName : testing::kUriName, host);
    return permitted ? testing::NameConstraints({name}, {})
                     : testing::NameConstraints({}, {name});
  }

  certs::CertificateOptions Leaf() {
    Say("[leaf");
    const absl::Time from = now_ - absl::Hours(72);
    const absl::Time until = now_ + absl::Hours(72);
    certs::CertificateOptions options = certs::SvidOptions(kCart, from, until);
    if (Chance(40)) {
      Say("dns");
      options = sample_.side == PeerSide::kServer
                    ? certs::ServerOptions({"cart.prod"}, from, until)
                    : certs::ClientOptions({"cart.prod"}, from, until);
    }
    ChangeDates(&options);
    if (Rarely("other side")) {
      options.purposes = {sample_.side == PeerSide::kServer ? "clientAuth"
                                                            : "serverAuth"};
    }
    if (Rarely("no purposes")) options.purposes = {};
    if (Rarely("CA leaf")) options.authority = true;
    if (Rarely("certSign")) options.key_usage |= certs::kKeyCertSign;
    if (Rarely("no signature")) options.key_usage = certs::kKeyEncipherment;
    if (Rarely("no usage")) options.key_usage = 0;
    if (Rarely("sha1")) options.digest = certs::Digest::kSha1;
    if (Rarely("common name")) options.common_name = "cart.evil.prod";
    if (Rarely("more names")) {
      options.names.push_back({certs::AltName::Type::kDns, "evil.prod"});
    }
    ChangeExtensions(&options);
    Say("]");
    return options;
  }

  void Disorder(std::vector<std::string>* others) {
    if (!others->empty() && Rarely("one is missing")) {
      others->erase(others->begin() +
                    random_.Below(static_cast<uint32_t>(others->size())));
    }
    if (!others->empty() && Chance(10)) {
      Say("double");
      others->push_back(
          (*others)[random_.Below(static_cast<uint32_t>(others->size()))]);
    }
    if (Chance(10)) {
      Say("stranger");
      others->push_back(
          Must(certs::Authority::MakeRoot(Authority("level 0"), AnyKey()))
              .pem());
    }
    if (Chance(50)) {
      Say("shuffled");
      std::shuffle(others->begin(), others->end(), random_);
    }
  }

  std::string Bundle(const certs::Authority& root,
                     const certs::CertificateOptions& options) {
    std::string bundle = root.pem();
    if (Rarely("other root")) {
      bundle = Must(certs::Authority::MakeRoot(options, keys_[0])).pem();
    }
    if (Rarely("roots of one name")) {
      bundle += Must(certs::Authority::MakeRoot(options, keys_[1])).pem();
    }
    return bundle;
  }

  const absl::Time now_;
  std::vector<certs::Key> keys_;
  Random random_{0};
  Sample sample_;
};

void Write(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  ASSERT_TRUE(file.flush()) << path;
}

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// What certtool says of each sample: its output, and "0" as the last line when
// it trusts the chain.
std::vector<std::string> JudgedByGnuTls(const std::vector<Sample>& samples) {
  const std::string folder = ::testing::TempDir();
  for (size_t i = 0; i < samples.size(); ++i) {
    Write(absl::StrCat(folder, "/", i, ".chain"), samples[i].chain);
    Write(absl::StrCat(folder, "/", i, ".bundle"), samples[i].bundle);
    Write(absl::StrCat(folder, "/", i, ".purpose"),
          samples[i].side == PeerSide::kServer ? "1.3.6.1.5.5.7.3.1\n"
                                               : "1.3.6.1.5.5.7.3.2\n");
  }
  const std::string command = absl::StrCat(
      "cd '", folder, "' && seq 0 ", samples.size() - 1,
      " | xargs -P 4 -n 50 sh -c '"
      "for i; do read -r purpose <$i.purpose;"
      " certtool --verify --verify-profile=low --verify-purpose=$purpose"
      " --load-ca-certificate $i.bundle --infile $i.chain >$i.out 2>&1;"
      " echo $? >>$i.out; done' sh");
  EXPECT_EQ(std::system(command.c_str()), 0);  // NOLINT(cert-env33-c)
  std::vector<std::string> judged;
  for (size_t i = 0; i < samples.size(); ++i) {
    judged.push_back(Read(absl::StrCat(folder, "/", i, ".out")));
  }
  return judged;
}

bool IsTrusted(const std::string& output) {
  return output.size() >= 2 && output.substr(output.size() - 2) == "0\n";
}

// The same chain with one certificate of each name. GnuTLS takes the first that
// it finds and looks no further; mesh takes those that make a good chain.
std::vector<Sample> WithoutChoice(const Sample& sample) {
  const std::vector<std::string> all =
      Must(PemBlocks(sample.chain, "CERTIFICATE", 100));
  std::map<std::string, std::vector<std::string>> by_name;
  for (size_t i = 1; i < all.size(); ++i) {
    const std::vector<X509Ptr> one = Must(ParseCertificates(all[i], 1));
    by_name[std::string(SubjectOf(one[0].get()))].push_back(all[i]);
  }
  std::vector<std::vector<std::string>> choices = {{all[0]}};
  for (const auto& [name, same] : by_name) {
    std::vector<std::vector<std::string>> next;
    for (const std::vector<std::string>& choice : choices) {
      for (const std::string& one : same) {
        next.push_back(choice);
        next.back().push_back(one);
      }
    }
    choices = std::move(next);
  }
  std::vector<Sample> samples;
  for (const std::vector<std::string>& choice : choices) {
    Sample one = sample;
    one.chain.clear();
    for (const std::string& der : choice) {
      absl::StrAppend(&one.chain, "-----BEGIN CERTIFICATE-----\n",
                      absl::Base64Escape(der), "\n-----END CERTIFICATE-----\n");
    }
    samples.push_back(std::move(one));
  }
  return samples;
}

// Why mesh may admit what GnuTLS refuses; empty: it may not.
std::string Exception(const Sample& sample, const std::string& output) {
  if (absl::StrContains(output, "violates the signer's constraints") &&
      absl::StrContains(sample.story, "excluded uri ")) {
    // verifier_names_test.cc holds mesh to these.
    return "GnuTLS 3.7 cannot compare URIs, and refuses each one";
  }
  for (const std::string& one : JudgedByGnuTls(WithoutChoice(sample))) {
    if (IsTrusted(one)) return "GnuTLS tries one of several chains";
  }
  return "";
}

PeerVerdict Judged(const Sample& sample, absl::Time now) {
  const auto trust = Must(
      Trust::Make({{"prod", sample.bundle}, {"", sample.bundle}}, {}, "prod"));
  PeerPolicy policy;
  policy.side = sample.side;
  return VerifyPeer(sample.chain, *trust, policy, now);
}

TEST(GnuTlsTest, MeshAdmitsNoChainThatGnuTlsRefuses) {
  // certtool looks at the wall clock, so no other time would do.
  const absl::Time now = absl::FromTimeT(std::time(nullptr));
  Chains chains(now);
  std::vector<Sample> samples;
  std::vector<PeerVerdict> verdicts;
  for (uint64_t seed = 0; samples.size() < kChains; ++seed) {
    Sample sample = chains.Make(seed);
    // A bundle with a weak key is no bundle at all here.
    const auto bundle = Bundle::Parse(sample.bundle);
    if (!bundle.ok()) continue;
    absl::StrAppend(&sample.story, " (seed ", seed, ")");
    verdicts.push_back(Judged(sample, now));
    samples.push_back(std::move(sample));
  }
  const std::vector<std::string> judged = JudgedByGnuTls(samples);
  std::map<std::string, int> refusals;
  int both = 0;
  int exceptions = 0;
  for (int i = 0; i < kChains; ++i) {
    const bool trusted = IsTrusted(judged[i]);
    ++refusals[std::string(PeerRefusalName(verdicts[i].refusal))];
    if (!verdicts[i].admitted()) continue;
    both += trusted ? 1 : 0;
    if (trusted) continue;
    const std::string exception = Exception(samples[i], judged[i]);
    EXPECT_NE(exception, "") << samples[i].story << "\n" << judged[i];
    ++exceptions;
  }
  // They stay few, or the comparison would be worth nothing.
  EXPECT_LE(exceptions, 30);
  // The chains are worth the comparison: many are good, and each kind of
  // refusal is there.
  EXPECT_GT(both, 400);
  for (const char* reason :
       {"bad_leaf", "unknown_authority", "bad_chain", "bad_purpose",
        "name_constraints", "weak", "not_yet_valid", "expired"}) {
    EXPECT_GT(refusals[reason], 5) << reason;
  }
  for (const auto& [reason, count] : refusals) RecordProperty(reason, count);
  RecordProperty("exceptions", exceptions);
}

}  // namespace
}  // namespace mesh::security
