// What holds for every sample: it can be found, opens with what it shows, and tells how it is used.
#include <support/program.hpp>
#include <support/sample.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

using rondo::test::outcome;
using rondo::test::run_program;
using rondo::test::sample;

namespace {

const std::filesystem::path folder = RONDO_SAMPLES_SOURCE_DIR;

// As samples/run takes them: echo_server, blocking/echo_poll, and load of the folder load. What has
// a header is shared by them.
std::vector<std::string> names() {
    std::vector<std::string> found;
    for (const std::string place : {"", "blocking/"}) {
        for (const auto& each : std::filesystem::directory_iterator(folder / place)) {
            auto header = each.path();
            header.replace_extension(".hpp");
            if (each.path().extension() == ".cpp" && !exists(header))
                found.push_back(place + each.path().stem().string());
            const std::string name = each.path().filename().string();
            if (exists(each.path() / (name + ".cpp"))) found.push_back(name);
        }
    }
    return found;
}

// Where a sample begins, from the samples' folder.
std::string source_of(const std::string& name) {
    return exists(folder / (name + ".cpp")) ? name + ".cpp" : name + "/" + name + ".cpp";
}

std::string text_of(const std::filesystem::path& file) {
    std::ifstream in(file);
    REQUIRE(in);
    return {std::istreambuf_iterator<char>(in), {}};
}

bool is_sentence(const std::string& line) {
    return !line.empty() && std::isupper(static_cast<unsigned char>(line.front())) &&
           line.ends_with('.');
}

}  // namespace

TEST_CASE("every sample answers --help with a sentence and its arguments", "[samples][blocking]") {
    REQUIRE(names().size() >= 15);
    for (const std::string& name : names()) {
        CAPTURE(name);
        const outcome help = run_program({sample(name), "--help"});
        CHECK(help.exit_code == 0);
        CHECK(help.err.empty());
        CHECK(is_sentence(help.out.substr(0, help.out.find('\n'))));
        CHECK(help.out.find("--help") != std::string::npos);
    }
}

TEST_CASE("every sample has a row in the README of the samples", "[samples][blocking]") {
    const std::string readme = text_of(folder / "README.md");
    for (const std::string& name : names()) {
        CAPTURE(name);
        const std::size_t link = readme.find("](" + source_of(name) + ")");
        REQUIRE(link != std::string::npos);
        CHECK(readme[readme.rfind('\n', link) + 1] == '|');
    }
}

TEST_CASE("every sample opens with what it shows and how to try it", "[samples][blocking]") {
    for (const std::string& name : names()) {
        CAPTURE(name);
        const std::string source = text_of(folder / source_of(name));
        CHECK(source.starts_with("// "));
        const std::string opening = source.substr(0, source.find("#include"));
        CHECK(opening.find("./samples/run " + name) != std::string::npos);
    }
}
