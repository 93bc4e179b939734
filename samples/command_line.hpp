// The arguments of a program: read into variables, checked, and told by --help.
#pragma once

#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

template <class Value>
concept argument_value =
    std::same_as<Value, std::string> || std::same_as<Value, std::vector<std::string>> ||
    std::same_as<Value, int> || std::same_as<Value, unsigned> ||
    std::same_as<Value, std::size_t> || std::same_as<Value, double>;

// CLI11 does the work. It is all in headers and takes longer to compile than a sample does, so it
// is compiled once, in command_line.cpp.
class command_line {
public:
    // What is asked of an argument besides its type. Where bounds are, nan is refused.
    class argument {
    public:
        argument required() const;
        argument positive() const;
        argument not_negative() const;
        argument between(int least, int most) const;
        argument between(unsigned least, unsigned most) const;
        argument between(std::size_t least, std::size_t most) const;
        argument between(double least, double most) const;
        argument one_of(std::initializer_list<int> values) const;
        argument existing_directory() const;
        // What --help calls the value: INT, TEXT and so on where this is not said.
        argument takes(const std::string& what) const;
        // For a default that means "none".
        argument hide_default() const;

    private:
        friend class command_line;
        explicit argument(CLI::Option& option) : option_(&option) {}

        CLI::Option* option_;
    };

    // `purpose` opens what --help prints, `footer` ends it.
    explicit command_line(const std::string& purpose, const std::string& footer = {});
    ~command_line();

    // A name without dashes is known by its place, a list takes all that is left. `value` holds the
    // default, which --help shows unless it is a list; parse() writes to it.
    template <argument_value Value>
    argument add(const std::string& name, Value& value, const std::string& meaning);
    // An option without a value, which makes `value` true.
    void flag(const std::string& name, bool& value, const std::string& meaning);

    // Ends the program where there is nothing to do: with 0 after --help, with 100 or more after
    // arguments that are wrong, having said which.
    void parse(int argc, char** argv);

private:
    std::unique_ptr<CLI::App> app_;
};
