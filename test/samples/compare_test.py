#!/usr/bin/env python3
"""Checks what samples/compare makes of its rounds: medians, marks, cells, CSV, lines of code; and
what it says of servers that fail, by servers and a load that do."""
import contextlib
import io
import os
import sys
import tempfile
import threading
import time
import unittest
import unittest.mock
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "samples", "compare"))

import code_lines
import counting
import figures
import losses
import machine
import main
import measure
import pictures
import publish
import report
import rounds_csv
import run
import table
import variants
from cell import Cell
from points import FULL, QUICK, Plan, Point, size_text

PING = Point("ping-pong", 128, 64, True)


def variant(name):
    return next(each for each in variants.ECHO if each.name == name)


def cell(name="epoll", rates=(1000.0, 3000.0, 2000.0), limited=False, point=PING, messages=20000,
         load_cpu=0.5):
    made = Cell(point, variant(name))
    made.closed = [{"rate": rate, "cpu_us_per_message": 2.0, "load_cpu": 0.97,
                    "server_cpu": 0.8 if limited else 0.95} for rate in rates]
    made.opened = [{"p50_us": 50.0, "p99_us": 90.0, "p99_9_us": 99.0, "offered_rate": 500,
                    "rate": 500.0, "due": messages, "load_cpu": load_cpu}]
    return made


class FiguresTest(unittest.TestCase):
    def test_a_figure_is_the_median_with_the_least_and_the_greatest(self):
        self.assertEqual(figures.summarise([3, 1, None, 2]), (2, 1, 3, 3))
        self.assertIsNone(figures.summarise([None, None]))

    def test_numbers_have_three_digits(self):
        for value, text in ((0, "0"), (7, "7"), (2000, "2.00 k"), (0.0312, "0.0312"), (0.25, "0.250"), (1.5, "1.50"),
                            (45.67, "45.7"), (234.5, "234"), (999.96, "1.00 k"),
                            (45600, "45.6 k"), (1234567, "1.23 M"), (2.5e9, "2.50 G")):
            self.assertEqual(figures.number(value), text)

    def test_one_round_has_no_spread(self):
        self.assertEqual(figures.with_spread(figures.summarise([45600])), "45.6 k")
        self.assertEqual(figures.with_spread(figures.summarise([1, 3, 2])), "2.00 [1.00-3.00]")

    def test_the_range_is_in_the_unit_of_the_median(self):
        self.assertEqual(figures.with_spread(figures.summarise([990, 1050, 36000])),
                         "1.05 k [0.990-36.0]")
        self.assertEqual(figures.with_spread(figures.summarise([0, 0, 0.00001])), "0 [0-<0.0001]")

    def test_the_load_was_the_limit_where_it_alone_had_no_time_left(self):
        self.assertTrue(figures.load_was_limit(0.99, 0.5))
        self.assertTrue(figures.load_was_limit(0.92, 0.67))  # the host took the rest
        self.assertFalse(figures.load_was_limit(0.91, 0.82))  # both nearly full
        self.assertFalse(figures.load_was_limit(0.76, 0.46))  # one waits for the other
        self.assertFalse(figures.load_was_limit(0.99, 0.95))
        self.assertFalse(figures.load_was_limit(0.5, 0.5))
        self.assertFalse(figures.load_was_limit(None, 0.5))

    def test_the_offered_rate_is_half_of_the_slowest_in_two_digits(self):
        self.assertEqual(figures.offered_rate([91234, 47999]), 23000)
        self.assertEqual(figures.offered_rate([19]), 9)
        self.assertEqual(figures.offered_rate([0.5]), 1)
        self.assertIsNone(figures.offered_rate([]))

    def test_a_rate_that_keeps_the_load_busy_gives_way_to_a_lower_one(self):
        self.assertEqual(figures.quieter_rate(11000, 0.9), 6100)
        self.assertEqual(figures.quieter_rate(11000, 0.54), 11000)
        self.assertEqual(figures.quieter_rate(11000, None), 11000)


class PointsTest(unittest.TestCase):
    def test_the_full_plan_reaches_the_ends_of_both_axes_and_all_profiles(self):
        for plan, profiles in ((FULL, 5), (QUICK, 5)):
            self.assertEqual(len({point.profile for point in plan.points}), profiles)
        self.assertEqual({1, 8000} - {point.connections for point in FULL.points}, set())
        self.assertEqual({16, 65536} - {point.size for point in FULL.points}, set())

    def test_sizes_are_written_in_bytes_or_kib(self):
        self.assertEqual([size_text(size) for size in (16, 1000, 65536)],
                         ["16 B", "1000 B", "64 KiB"])


    def test_the_documentation_says_where_latency_is_not_measured(self):
        with open(os.path.join(ROOT, "docs", "benchmarks.md")) as file:
            page = " ".join(file.read().split())
        measured = [point[:3] for point in FULL.points if point.open_loop]
        self.assertEqual(measured, [("ping-pong", count, size) for count, size in
                                    ((1, 64), (128, 64), (1000, 64), (128, 8192))])
        self.assertIn("latencies at 1, 128 and 1000 connections with 64 B and at 128 with 8 KiB", page)


class VariantsTest(unittest.TestCase):
    def test_every_variant_has_its_sources_and_a_colour(self):
        for each in variants.ECHO + variants.CHATS:
            own, shared = code_lines.count(each)
            self.assertGreater(own, 10)
            self.assertEqual(shared > 0, bool(each.shared))
            self.assertIn(each.name, pictures.COLOURS)

    def test_every_variant_has_a_row_in_the_room(self):
        self.assertEqual([each.name for each in variants.of_profile("room")], variants.names())
        (threads,) = variants.of_profile("room", ["threads"])
        self.assertEqual(measure.why_not(Point("room", 10, 64), threads, "/", 20000),
                         "no chat server of this kind")

    def test_arguments_that_measure_nothing_are_wrong(self):
        def code(*arguments):
            with redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as ended:
                with unittest.mock.patch.object(sys, "argv", ["compare", *arguments]):
                    main.parse()
            return ended.exception.code
        for arguments in (("--profile", "room", "--only", "asio-epoll"), ("--only", "nothing"),
                          ("--profile", "nothing"), ("--rounds", "0")):
            self.assertEqual(code(*arguments, "--load", "/bin/true"), 2)

    def test_folders_that_cannot_be_used_are_wrong_arguments(self):
        with tempfile.NamedTemporaryFile() as file:
            below = os.path.join(file.name, "below")
            for arguments in (("--output", below, "--load", "/bin/true"), ("--publish", below),
                              ("--report", below)):
                with redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit) as ended:
                    with unittest.mock.patch.object(sys, "argv", ["compare", *arguments]):
                        main.parse()
                self.assertEqual(ended.exception.code, 2)
                self.assertIn(f"{arguments[0]}: ", said.getvalue().splitlines()[-1])

    def told(self, *arguments):
        """The exit code and what main says, on an end that is no traceback."""
        with redirect_stderr(io.StringIO()) as said, redirect_stdout(io.StringIO()):
            with unittest.mock.patch.object(sys, "argv", ["compare", *arguments]), \
                    unittest.mock.patch.object(main.signal, "signal"):
                try:
                    code = main.main()
                except SystemExit as ended:
                    code = ended.code
        return code, said.getvalue()

    def test_what_cannot_be_written_is_told_before_anything_is_measured(self):
        for name in ("rounds.csv", "machine.json", "report.html"):
            with tempfile.TemporaryDirectory() as folder:
                os.mkdir(os.path.join(folder, name))
                code, said = self.told("--output", folder, "--load", "/bin/true")
                self.assertEqual(code, 2)
                self.assertIn(f"{name} may not be written to", said)

    def test_arguments_alone_are_checked_where_nothing_is_built(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(self.told("--output", folder, "--built", folder)[0], 2)
            self.assertEqual(self.told("--output", folder, "--built", folder, "--only-check"),
                             (0, ""))
            self.assertEqual(os.listdir(folder), [])
        self.assertEqual(self.told("--only-check", "--bogus")[0], 2)

    def test_a_signal_or_a_failed_write_at_any_time_is_an_exit_code(self):
        for failure, expected, text in ((KeyboardInterrupt, 130, "ended"),
                                        (OSError(28, "No space left"), 1, "No space left")):
            with tempfile.TemporaryDirectory() as folder, unittest.mock.patch.object(
                    main, "surroundings", unittest.mock.Mock(side_effect=failure)):
                code, said = self.told("--output", folder, "--load", "/bin/true")
            self.assertEqual(code, expected)
            self.assertIn("compare: ", said)
            self.assertIn(text, said)

    def test_a_report_of_what_no_run_has_written_says_so(self):
        key = ",".join(rounds_csv.KEY)
        for text in ("", "a,b\n1,2\n", key + "\n", key + "\nping-pong,1,64,nobody,closed,1,ok,\n",
                     key + "\nping-pong,1,64,epoll,sideways,1,ok,\n",
                     key + "\nwrong,x,64,epoll,closed,1,ok,\n", key + "\nping-pong\n"):
            with tempfile.TemporaryDirectory() as folder:
                publish.write(os.path.join(folder, "machine.json"), "{}")
                publish.write(os.path.join(folder, "rounds.csv"), text)
                for option in ("--report", "--publish"):
                    code, _ = self.told(option, folder)
                    self.assertIn("compare: no run is there: ", str(code), text)
                publish.write(os.path.join(folder, "machine.json"), "no JSON")
                self.assertIn("machine.json is not of a run", str(self.told("--report", folder)[0]))

    def test_quick_that_takes_more_than_a_minute_fails_where_it_is_strict(self):
        comparison = unittest.mock.Mock(**{"failed.return_value": False, "load_engines": (),
                                           "incomplete.return_value": False, "results": {}})
        for arguments, seconds, expected in ((("--quick", "--strict"), 61, 1),
                                             (("--quick", "--strict"), 59, 0),
                                             (("--quick",), 61, 0), (("--strict",), 61, 0)):
            with tempfile.TemporaryDirectory() as folder, \
                    unittest.mock.patch.object(main.run, "Comparison", lambda *_: comparison), \
                    unittest.mock.patch.object(main, "surroundings", lambda _: {}), \
                    unittest.mock.patch.object(main.time, "monotonic",
                                               unittest.mock.Mock(side_effect=(0, seconds))):
                code, _ = self.told("--output", folder, "--load", "/bin/true", *arguments)
            self.assertEqual(code, expected)

    def test_a_family_name_means_all_of_it(self):
        named = lambda *wanted: [each.name for each in variants.of_profile("ping-pong", wanted)]
        self.assertEqual(named("epoll", "rondo"), ["epoll", "rondo-uring", "rondo-epoll"])
        self.assertEqual(named(), variants.names())

    def test_what_cannot_do_a_point_says_why(self):
        with tempfile.TemporaryDirectory() as built:
            def why(name, connections, profile="ping-pong", descriptors=20000):
                return measure.why_not(Point(profile, connections, 64), variant(name), built,
                                       descriptors)
            self.assertEqual(why("asio-epoll", 1), "not installed: libasio-dev")
            self.assertEqual(why("epoll", 1), "not built")
            os.mkdir(os.path.join(built, "blocking"))
            for name in ("one_at_a_time", "select", "epoll"):
                with open(os.path.join(built, "blocking", "echo_" + name), "w") as file:
                    os.chmod(file.fileno(), 0o755)
            self.assertIn("1023", why("select", 8000))
            self.assertIsNone(why("select", 1000))
            self.assertIn("one connection", why("one-at-a-time", 2))
            self.assertIsNone(why("one-at-a-time", 16, "short"))
            self.assertIn("the limit is 1024", why("epoll", 1000, descriptors=1024))
            self.assertIsNone(why("epoll", 8000))


class CodeLinesTest(unittest.TestCase):
    def test_blank_lines_and_comments_do_not_count(self):
        text = ('// one\n\nint a;  // two\n/* three\n four */ int b;\n/* five */\n'
                'auto c = "// six \\" /*";\nint d = 1\'000;  // it\'s one\nchar e = \'"\';\n')
        self.assertEqual(code_lines.count_text(text), 5)


class TableTest(unittest.TestCase):
    def test_a_row_has_medians_with_their_spread(self):
        self.assertEqual(table.row(cell())[:4], ["epoll", "2.00 k [1.00-3.00]", "97 %", "50.0"])

    def test_a_rate_the_load_was_the_limit_of_is_marked_and_explained(self):
        text = "\n".join(table.lines([cell(limited=True), cell("poll")]))
        self.assertEqual(text.count("(!)"), 2)
        self.assertIn(table.LIMIT_NOTE, text)
        self.assertNotIn("(!)", "\n".join(table.lines([cell()])))

    def test_one_round_of_several_marks_no_rate(self):
        once = cell()
        once.closed[0]["server_cpu"] = 0.5
        self.assertFalse(once.limited())
        once.closed[1]["server_cpu"] = 0.5
        self.assertTrue(once.limited())

    def test_a_latency_with_the_loads_own_queue_in_it_is_marked_and_explained(self):
        text = "\n".join(table.lines([cell(load_cpu=0.61), cell("poll")]))
        self.assertEqual(text.count(" (!)"), 4)
        self.assertIn(table.LATENCY_LIMIT_NOTE, text)
        self.assertNotIn(table.LIMIT_NOTE, text)

    def test_messages_that_went_out_late_are_told_of(self):
        late = cell()
        self.assertEqual(list(table.notes([late])), [])
        late.opened[0]["behind"] = 3000
        (note,) = table.notes([late])
        self.assertIn("up to 15 %", note)

    def test_a_percentile_with_too_few_messages_beyond_it_is_not_shown(self):
        for messages, shown in ((99, 1), (1000, 2), (9999, 2), (10000, 3)):
            texts = table.row(cell(messages=messages))[3:6]
            self.assertEqual(sum(bool(text) for text in texts), shown)

    def test_a_round_that_stalled_is_not_left_out(self):
        stalled = cell()
        stalled.opened.append({**stalled.opened[0], "messages": 9000, "unanswered": 1000,
                               "due": 10000, "p99_9_us": 43000.0})
        self.assertEqual(stalled.figure(figures.P99_9).high, 43000)

    def test_a_round_is_longer_where_a_percentile_has_nearly_messages_enough(self):
        for rate, seconds in ((8900, 2), (5000, 2.2), (4000, 2.75), (3000, 2)):
            self.assertEqual(figures.seconds_for(figures.P99_9, rate, 2), seconds)

    def test_a_latency_at_a_rate_that_was_not_reached_is_marked(self):
        slow = cell()
        slow.opened[0]["rate"] = 450
        self.assertIn("(late)", table.row(slow)[3])
        slow.opened[0]["rate"] = 490
        self.assertNotIn("(late)", table.row(slow)[3])

    def test_the_documentation_gets_the_same_table(self):
        cannot = Cell(PING, variant("select"))
        cannot.cannot("no")
        lines = list(table.markdown([cannot, cell()]))
        self.assertEqual(len({line.count("|") for line in lines}), 1)
        self.assertTrue(lines[2].startswith("| select | no |"))

    def test_a_problem_takes_the_place_of_the_figures(self):
        cannot, failed = Cell(PING, variant("select")), Cell(PING, variant("threads"))
        cannot.cannot("no")
        failed.fails("died")
        lines = list(table.lines([cannot, failed, cell()]))
        self.assertIn("latency at 500 messages/s, 25 % of what they can do", lines[0])
        self.assertRegex(lines[2], r"select +no$")
        self.assertRegex(lines[3], r"threads +FAILED: died$")


class ReportTest(unittest.TestCase):
    def results(self):
        failed = Cell(PING, variant("threads"))
        failed.fails("died of <SIGSEGV>")
        eight = Point("ping-pong", 8, 64)
        return {eight: [cell("rondo-uring", point=eight, load_cpu=0.7)],
                PING: [cell("rondo-uring", limited=True), failed]}

    def test_the_csv_gives_back_what_was_written(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rounds.csv")
            with rounds_csv.Writer(path) as writer:
                for cells in self.results().values():
                    for each in cells:
                        if each.problem:
                            writer.problem(each)
                        for number, row in enumerate(each.closed):
                            writer.round(each, "closed", number, row)
            found = rounds_csv.read(path)
        threads, rondo = found[Point("ping-pong", 128, 64)]
        self.assertEqual(rondo.figure(figures.RATE).median, 2000)
        self.assertTrue(rondo.limited())
        self.assertTrue(threads.failed)
        self.assertEqual(threads.problem, "died of <SIGSEGV>")

    def test_the_report_needs_nothing_beside_it(self):
        with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):
            report.write(folder, {"kernel": "6 & more"}, self.results())
            with open(os.path.join(folder, "report.html")) as file:
                page = file.read()
        for part in ("died of &lt;SIGSEGV&gt;", "6 &amp; more", 'class="limited"',
                     "the limit of 1 rates: ping-pong 128 x 64 B: rondo on io_uring",
                     "queue in the latencies of ping-pong 8 x 64 B: rondo on io_uring"):
            self.assertIn(part, page)
        for outside in ("<script", "<link", "<img", "src="):
            self.assertNotIn(outside, page)
        self.assertEqual("<svg" in page, pictures.available())

    @unittest.skipUnless(pictures.available(), "gnuplot is not installed")
    def test_pictures_take_the_colour_of_the_text_and_have_no_background(self):
        drawn = {each.name: each.svg for each in pictures.make(self.results())}
        self.assertIn("connections-rate", drawn)
        for svg in drawn.values():
            self.assertIn("currentColor", svg)
            self.assertNotRegex(svg, pictures.BLACK)
            self.assertNotRegex(svg, r'<rect x="0" y="0"[^>]*fill="(?!none)')


    def scripts(self, make_one, cells, *rest):
        with unittest.mock.patch.object(pictures, "draw", lambda script: script):
            return make_one("p99", cells, figures.P99, *rest)

    def test_a_late_latency_is_on_no_line_and_marked(self):
        few, many = Point("ping-pong", 8, 64), Point("ping-pong", 1000, 64)
        cells = [cell("epoll", point=point) for point in (few, PING, many)]
        for draw, arguments in ((pictures.lines, (pictures.connections, "connections")),
                                (pictures.bars, ())):
            script = self.scripts(draw, cells, *arguments)
            self.assertNotIn(pictures.LATE_NOTE, script)
        cells[1].opened[0].update(rate=450, p99_us=70000.0)
        script = self.scripts(pictures.lines, cells, pictures.connections, "connections")
        self.assertIn("$v0 << END\n8 90.0 90.0 90.0\n\n1000 90.0 90.0 90.0\nEND\n"
                      "$c0 << END\n128 70000.0 70000.0 70000.0\nEND\n", script)
        self.assertIn("a cross, on no line: " + pictures.LATE_NOTE, script)
        script = self.scripts(pictures.bars, cells)
        self.assertEqual(script.count("fillstyle pattern"), 1)
        self.assertIn("hatched: " + pictures.LATE_NOTE, script)

    @unittest.skipUnless(pictures.available(), "gnuplot is not installed")
    def test_figures_that_are_all_0_have_a_picture(self):
        select = cell("select", point=Point("idle", 1000, 64))
        select.closed = [{"idle_bytes_per_connection": 0.0}]
        self.assertIn("<svg", pictures.bars("memory", [select], figures.MEMORY, logarithmic=True))

    def test_a_picture_that_fails_costs_no_report_and_it_can_be_made_again(self):
        with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()) as errors:
            with open(os.path.join(folder, "machine.json"), "w") as file:
                file.write('{"kernel": "6"}')
            with rounds_csv.Writer(os.path.join(folder, "rounds.csv")) as writer:
                writer.round(cell(), "closed", 1, cell().closed[0])
            arguments = ["compare", "--report", folder]
            with unittest.mock.patch.multiple(pictures, draw=unittest.mock.Mock(
                    side_effect=RuntimeError("gnuplot: no")), available=lambda: True), \
                    unittest.mock.patch.object(sys, "argv", arguments), \
                    redirect_stdout(io.StringIO()):
                self.assertEqual(main.main(), 0)
            with open(os.path.join(folder, "report.html")) as file:
                self.assertIn("1.00 k", file.read())
        self.assertIn("no picture ping-pong 128 x 64 B: rate: gnuplot: no", errors.getvalue())


class LossesTest(unittest.TestCase):
    def lines(self, **rates):
        cells = [cell(name.replace("_", "-"), each) for name, each in rates.items()]
        return [line for line in losses.lines({PING: cells}) if ", rate:" in line]

    def test_rondo_behind_the_first_or_behind_the_same_by_hand_is_a_loss(self):
        (line,) = self.lines(epoll=(20, 21), rondo_uring=(30, 30), rondo_epoll=(15, 15))
        self.assertEqual(line, "ping-pong 128 x 64 B, rate: rondo on epoll 15.0 [15.0-15.0]; "
                               "epoll 20.5 [20.0-21.0]")
        first = self.lines(threads=(40, 40), rondo_uring=(30, 41), rondo_epoll=(15, 15))
        self.assertEqual([line.endswith("(the ranges overlap)") for line in first], [True, False])

    def test_an_engine_of_rondo_that_is_the_first_hides_no_loss_of_the_other(self):
        (line,) = self.lines(threads=(40, 40), rondo_uring=(30, 30), rondo_epoll=(50, 50))
        self.assertTrue(line.startswith("ping-pong 128 x 64 B, rate: rondo on io_uring 30.0"))
        self.assertIn("; threads 40.0", line)

    def test_rondo_before_all_others_is_none(self):
        self.assertEqual(self.lines(epoll=(20,), rondo_uring=(30,), rondo_epoll=(25,)), [])


    def test_a_loss_beyond_the_spread_is_named_with_its_figure_in_one_paragraph(self):
        cells = [cell(name, (rate, rate)) for name, rate in
                 (("threads", 40), ("rondo-uring", 41), ("rondo-epoll", 15))]
        results = "\n".join(losses.markdown({PING: cells})) + "\n\n"
        self.assertEqual(results.splitlines()[2:3], [
            "| ping-pong 128 x 64 B | rate | rondo on epoll 15.0 [15.0-15.0] | "
            "threads 40.0 [40.0-40.0] |"])
        head = "### Where rondo loses\n"
        for prose, missing in (
                ("* It has a low rate at ping-pong\n  128 x 64 B.\n", []),
                ("* rate\n\n* ping-pong 128 x 64 B\n", ["ping-pong 128 x 64 B, rate"]),
                ("* rate at ping-pong 128 x 64 Bytes\n", ["ping-pong 128 x 64 B, rate"]),
                ("\n### Other\nrate at ping-pong 128 x 64 B\n", ["ping-pong 128 x 64 B, rate"])):
            self.assertEqual(losses.unnamed(head + prose + "\n### Results\n" + results), missing)

    def test_the_documentation_names_every_loss_beyond_the_spread(self):
        with open(os.path.join(ROOT, "docs", "benchmarks.md")) as file:
            page = file.read()
        self.assertEqual(page.count(losses.HEADING + "\n|---|---|---|---|\n| "), 1)
        self.assertEqual(losses.unnamed(page), [])


class MachineTest(unittest.TestCase):
    def chosen(self, usable, lists):
        path = "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list"
        known = {path % processor: text for processor, text in lists.items()}
        with unittest.mock.patch.object(machine, "text_of", lambda asked: known.get(asked, "")), \
                unittest.mock.patch.object(os, "sched_getaffinity", lambda _: set(usable)):
            cores = machine.choose_cores()
            return cores, machine.load_core_text(*cores)

    def test_server_and_load_are_on_two_cores_where_there_are_two(self):
        self.assertEqual(self.chosen((0, 1), {}), ((0, 1), "1"))
        self.assertEqual(self.chosen((0, 1, 2, 3), {0: "0,3\n", 3: "0,3\n"}), ((0, 2), "2"))
        self.assertEqual(self.chosen((0, 1, 2, 3), {0: "0-2\n"}), ((0, 3), "3"))
        for usable, lists, said in (((0, 1), {0: "0-1\n"}, "sibling"), ((5,), {}, "only one")):
            cores, text = self.chosen(usable, lists)
            self.assertEqual(cores, (usable[0], usable[-1]))
            self.assertIn(said, text)


class PublishTest(unittest.TestCase):
    def test_results_take_the_place_of_the_last_ones(self):
        page = f"before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n"
        once = publish.replaced(page, "new\n")
        self.assertEqual(once, f"before\n{publish.BEGIN}\n\nnew\n\n{publish.END}\nafter\n")
        self.assertEqual(publish.replaced(once, "new"), once)
        with self.assertRaises(SystemExit):
            publish.replaced("no place", "new")

    @unittest.skipUnless(pictures.available(), "gnuplot is not installed")
    def test_a_page_without_a_place_keeps_its_pictures_and_a_new_run_replaces_them(self):
        made = cell("poll")
        with tempfile.TemporaryDirectory() as docs:
            page = os.path.join(docs, "benchmarks.md")
            images = os.path.join(docs, "images")
            os.mkdir(images)
            publish.write(os.path.join(images, "compare-old.svg"), "old")
            with unittest.mock.patch.object(publish, "read", lambda _: ({}, {PING: [made]})):
                for text in (None, "no place"):
                    if text:
                        publish.write(page, text)
                    with self.assertRaises(SystemExit):
                        publish.publish("run", docs)
                    self.assertEqual(os.listdir(images), ["compare-old.svg"])
                publish.write(page, f"{publish.BEGIN}\n{publish.END}\n")
                with redirect_stdout(io.StringIO()):
                    publish.publish("run", docs)
            self.assertEqual(os.listdir(images), ["compare.svg"])

    def test_the_documentation_has_that_place(self):
        with open(os.path.join(ROOT, "docs", "benchmarks.md")) as file:
            page = file.read()
        self.assertEqual(page.count(publish.BEGIN), 1)
        self.assertEqual(page.count(publish.END), 1)


    @unittest.skipUnless(pictures.available(), "gnuplot is not installed")
    def test_a_run_that_is_read_again_has_the_pictures_the_page_shows(self):
        made = cell()
        made.counted = [{"calls_per_message": 2.0}]
        names = {name for name, _, svg in pictures.drawn({PING: [made]}) if svg}
        self.assertIn("ping-pong-128-x-64-b-system-calls", names & set(publish.SHOWN))
        self.assertIn("<svg", pictures.front_page({PING: [made]}))


class CountingTest(unittest.TestCase):
    def test_what_both_runs_have_cancels_out(self):
        self.assertEqual(counting.per_message((150, 10), (350, 110)), 2)
        self.assertIsNone(counting.per_message((150, 10), (350, 10)))
        self.assertIsNone(counting.per_message((None, 10), (None, 20)))

    def test_switches_of_short_connections_are_those_of_the_counter(self):
        short = cell("threads", point=Point("short", 16, 64))
        for row in short.closed:
            row["switches_per_message"] = 0.1
        self.assertIsNone(short.figure(figures.SWITCHES))
        self.assertIn(table.SWITCHES_NOTE, table.notes([short]))
        short.counted = [{"calls_per_message": 5.0, "switches_per_message": 3.0}]
        self.assertEqual(short.figure(figures.SWITCHES).median, 3)
        self.assertNotIn(table.SWITCHES_NOTE, table.notes([short]))

    def how_with_strace(self, script):
        """What is chosen where the kernel's counter is forbidden and strace is that script."""
        with tempfile.TemporaryDirectory() as folder, \
                unittest.mock.patch.object(counting, "kernel_counts", lambda: False), \
                unittest.mock.patch.dict(os.environ, PATH=folder):
            if script:
                with open(os.path.join(folder, "strace"), "w") as file:
                    os.chmod(file.fileno(), 0o755)
                    file.write(script)
            return counting.how.__wrapped__()

    def test_strace_is_believed_in_where_it_traces(self):
        self.assertEqual(self.how_with_strace("#!/bin/sh\nexit 0\n"), "strace")
        self.assertIsNone(self.how_with_strace(
            "#!/bin/sh\necho 'PTRACE_TRACEME: Operation not permitted' >&2; exit 1\n"))
        self.assertIsNone(self.how_with_strace(None))

    @unittest.skipUnless(counting.strace_counts(), "strace is not here, or may not trace")
    def test_strace_counts_what_a_server_calls(self):
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "server")
            with open(program, "w") as file:
                os.chmod(file.fileno(), 0o755)
                file.write(SERVER % WAITS)
            server = variant("epoll")._replace(program="server")
            calls, switches, messages = counting.by_strace(server, folder, None, lambda _: 7)
        self.assertGreater(calls, 10)
        self.assertIsNone(switches)
        self.assertEqual(messages, 7)

    @unittest.skipUnless(counting.kernel_counts(), "perf_event_open is not permitted here")
    def test_what_threads_did_that_have_ended_is_counted(self):
        with contextlib.ExitStack() as opened:
            counters = []
            for event in (counting.system_calls(), counting.context_switches()):
                counters.append(counting.open_counter(event, 0))
                opened.callback(os.close, counters[-1])
            for _ in range(20):
                thread = threading.Thread(target=time.sleep, args=(0.001,))
                thread.start()
                thread.join()
            calls, switches = (int.from_bytes(os.read(each, 8), sys.byteorder)
                               for each in counters)
        self.assertGreaterEqual(calls, 20)
        self.assertGreaterEqual(switches, 20)


SERVER = """#!/bin/sh
echo listening on 127.0.0.1:1
%s
"""
WAITS = "exec sleep 30"
REPORTS = ("#!/bin/sh\necho '{\"messages\": 10, \"seconds\": 0.1, \"rate\": 100, "
           "\"load_cpu\": 0.99, \"server\": {\"cpu\": 0.5}}'\n")


class TurnsTest(unittest.TestCase):
    def turns(self, seed):
        given = SimpleNamespace(plan=None, seed=seed)
        cells = [Cell(PING, each) for each in variants.ECHO]
        order = [each.variant.name for _, each in
                 run.Comparison(given, 1024).turns(PING, cells, "closed", 5)]
        return [order[first:first + len(cells)] for first in range(0, len(order), len(cells))]

    def test_all_have_a_turn_in_each_round_and_nobody_always_follows_the_same(self):
        rounds = self.turns(1)
        self.assertEqual([sorted(each) for each in rounds], [sorted(variants.names())] * 5)
        before = [each[each.index("rondo-uring") - 1] for each in rounds]
        self.assertGreater(len(set(before)), 1)

    def test_a_seed_gives_the_same_order_again(self):
        self.assertEqual(self.turns(1), self.turns(1))
        self.assertNotEqual(self.turns(1), self.turns(2))

    def test_who_cannot_any_more_has_no_further_turn(self):
        cells = [Cell(PING, variant(name)) for name in ("epoll", "poll")]
        comparison = run.Comparison(SimpleNamespace(plan=None, seed=1), 1024)
        seen = []
        for number, each in comparison.turns(PING, cells, "closed", 2):
            seen.append((number, each.variant.name))
            if each is cells[0]:
                each.fails("died")
        self.assertEqual(sorted(seen), [(1, "epoll"), (1, "poll"), (2, "poll")])


class RunTest(unittest.TestCase):
    """A whole run with a server and a load that are shell scripts."""

    def run_with(self, server, load, rounds=2, only="epoll", calls=False, counted_rounds=3):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "blocking"))
            for name, text in ((variant(only).program, server), ("load", load)):
                with open(os.path.join(folder, name), "w") as file:
                    os.chmod(file.fileno(), 0o755)
                    file.write(text)
            point = Point("ping-pong", 1, 64, calls=calls)
            given = SimpleNamespace(plan=Plan((point,), rounds, 0.1, 0, 1, 0, 0.1, counted_rounds, (0.1, 0.2)),
                                    only=[only], built=folder, seed=1,
                                    load=os.path.join(folder, "load"))
            comparison = run.Comparison(given, 1024)
            with rounds_csv.Writer(os.path.join(folder, "rounds.csv")) as writer:
                with redirect_stdout(io.StringIO()):
                    comparison.run(writer)
            (made,) = comparison.results[point]
            ((self.read_again,),) = rounds_csv.read(os.path.join(folder, "rounds.csv")).values()
            return made, comparison

    def test_rounds_become_figures(self):
        made, comparison = self.run_with(SERVER % WAITS, REPORTS)
        self.assertEqual([row["rate"] for row in made.closed], [100, 100])
        self.assertTrue(made.limited())
        self.assertFalse(comparison.failed())
        self.assertFalse(comparison.incomplete())

    def test_system_calls_are_counted_in_rounds(self):
        made_up = iter((2.0, 2.5, 2.25))
        with unittest.mock.patch.multiple(
                counting, how=lambda: "perf",
                count=lambda *_: {"calls_per_message": next(made_up)}):
            made, _ = self.run_with(SERVER % WAITS, REPORTS, calls=True)
        self.assertEqual(made.figure(figures.CALLS), (2.25, 2, 2.5, 3))

    def test_a_count_of_system_calls_that_fails_is_a_failure(self):
        def fails(*_):
            raise measure.LoadFailed("wrong byte")
        with unittest.mock.patch.multiple(counting, how=lambda: "perf", count=fails):
            made, comparison = self.run_with(SERVER % WAITS, REPORTS, calls=True)
        self.assertTrue(comparison.failed())
        self.assertEqual(made.figure(figures.RATE).median, 100)  # from other processes
        note = "FAILED: system calls of epoll at ping-pong 1 x 64 B: wrong byte"
        self.assertIn(note, list(table.notes([made])))
        self.assertIn(note, list(table.notes([self.read_again])))

    def test_the_load_has_an_engine_of_its_own_choice_and_says_which(self):
        load = REPORTS.replace("echo '{", "echo '{\"engine\": \"'${RONDO_ENGINE:-own}'\", ")
        with unittest.mock.patch.dict(os.environ, RONDO_ENGINE="epoll"):
            _, comparison = self.run_with(SERVER % WAITS, load)
        self.assertEqual(comparison.load_engines, {"own"})

    def test_a_server_that_dies_gives_a_cell_that_says_so(self):
        made, comparison = self.run_with(SERVER % "kill -SEGV $$",
                                         "#!/bin/sh\nsleep 0.1\necho wrong >&2\nexit 1\n")
        self.assertIn("died of SIGSEGV", made.problem)
        self.assertTrue(comparison.failed())

    def test_a_load_that_fails_gives_its_last_line(self):
        made, comparison = self.run_with(SERVER % WAITS, "#!/bin/sh\necho wrong byte >&2; exit 1\n")
        self.assertEqual(made.problem, "wrong byte")
        self.assertTrue(comparison.failed())

    def test_a_load_that_cannot_be_executed_fails_the_cell_and_not_the_run(self):
        for load, said in (("no program", "the load does not start: "),
                           ("#!/no/such/shell\n", "the load does not start: "),
                           ("#!/bin/sh\necho '[]'\n", "the load wrote no report: "),
                           ("#!/bin/sh\necho '{\"rate\": 1}'\n", "the load wrote no report: ")):
            made, comparison = self.run_with(SERVER % WAITS, load)
            self.assertIn(said, made.problem)
            self.assertTrue(comparison.failed())

    def test_a_server_that_cannot_be_executed_fails_its_cell(self):
        made, comparison = self.run_with("no program", REPORTS)
        self.assertIn("does not start: cannot be executed: ", made.problem)
        self.assertTrue(comparison.failed())

    def test_what_a_kind_of_server_cannot_do_is_not_incomplete(self):
        comparison = run.Comparison(SimpleNamespace(plan=None, seed=1), 1024)
        for name, expected in (("one-at-a-time", False), ("epoll", True)):
            made = Cell(PING, variant(name))
            made.cannot("no")
            comparison.results = {PING: [made]}
            self.assertEqual(comparison.incomplete(), expected)

    def test_a_connection_the_server_refuses_is_a_limit_of_its_own(self):
        server = SERVER % ("echo refused 127.0.0.1:2: too many >&2\n" + WAITS)
        made, comparison = self.run_with(server, "#!/bin/sh\nsleep 0.1\nexit 1\n")
        self.assertIn("too many", made.problem)
        self.assertFalse(comparison.failed())

    def test_where_io_uring_is_forbidden_a_server_cannot_start(self):
        server = "#!/bin/sh\necho 'io_uring_setup: Operation not permitted' >&2; exit 1\n"
        made, comparison = self.run_with(server, "#!/bin/sh\nexit 1\n", only="uring")
        self.assertIn("does not start here: io_uring_setup", made.problem)
        self.assertFalse(comparison.failed())
        self.assertTrue(comparison.incomplete())

    def test_what_needs_no_ring_and_is_not_permitted_to_start_fails(self):
        server = "#!/bin/sh\necho 'bind: Permission denied' >&2; exit 1\n"
        made, comparison = self.run_with(server, "#!/bin/sh\nexit 1\n")
        self.assertIn("does not start: bind", made.problem)
        self.assertTrue(comparison.failed())

    def test_a_server_without_its_line_fails(self):
        made, _ = self.run_with("#!/bin/sh\necho hello\n" + WAITS, "#!/bin/sh\nexit 1\n")
        self.assertIn("instead of where it listens", made.problem)


class QuickTest(unittest.TestCase):
    START_AND_STOP = 0.15  # seconds for each run: 0.11 where all of them took 37 s, on two processors

    def test_all_of_quick_is_planned_for_less_than_a_minute(self):
        runs, seconds = 0, 0.0
        for point in QUICK.points:
            servers = sum(bool(each.program) for each in variants.of_profile(point.profile))
            for times, count, each in (
                    (1, servers * QUICK.rounds, QUICK.warm_up + QUICK.seconds),
                    (point.open_loop, servers * QUICK.open_rounds,
                     QUICK.open_warm_up + 1.5 * QUICK.open_seconds),
                    (point.open_loop, 2 * run.TRIES, QUICK.warm_up + QUICK.seconds),
                    *((point.calls, servers * QUICK.counted_rounds, each)
                      for each in QUICK.counted)):
                runs += times * count
                seconds += times * count * each
        self.assertGreater(runs, 100)
        self.assertLess(seconds + self.START_AND_STOP * runs, 60)


if __name__ == "__main__":
    unittest.main()
