"""`dynq convert`."""

import json
import os
import shutil
import struct
import unittest

from cli_support import CommandTest

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "bert")
MISSING = object()
QUERY = "encoder.layer.1.attention.self.query.weight"


def read_safetensors(path):
    """The header and the data behind it."""
    with open(path, "rb") as file:
        content = file.read()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:end]), content[end:]


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


class ConvertTest(CommandTest):
    """A copy of a small encoder for each test."""

    def setUp(self):
        super().setUp()
        self.source = self.copy("bert")
        self.out = self.path("out.safetensors")

    def copy(self, name):
        target = self.path("source-" + name)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(os.path.join(GOLDEN, name), target)
        return target

    def file(self, name):
        return os.path.join(self.source, name)

    def change_json(self, name, key, value):
        with open(self.file(name), encoding="utf-8") as file:
            content = json.load(file)
        if value is MISSING:
            del content[key]
        else:
            content[key] = value
        self.write_text(name, json.dumps(content))

    def write_text(self, name, text):
        with open(self.file(name), "w", encoding="utf-8") as file:
            file.write(text)

    def convert(self, *options, source=None):
        return self.succeed_json("convert", source or self.source, "-o", self.out, *options)

    def refuse(self, *expected, code=3):
        """One line with all of these, and no model."""
        message = self.fail_with(code, "convert", self.source, "-o", self.out)
        for text in expected:
            self.assertIn(text, message)
        self.assertFalse(os.path.exists(self.out))

    def attachment(self, name):
        header, data = read_safetensors(self.out)
        begin, end = header["attachment/" + name]["data_offsets"]
        return data[begin:end]


class Convert(ConvertTest):
    def test_json(self):
        report = self.convert()
        self.assertEqual(report["schema"], "dynq.convert/1")
        expected = {"model_type": "bert", "layers": 2, "width": 32, "heads": 4, "inner": 48,
                    "vocabulary": 80, "max_tokens": 72, "pooling": "mean", "normalize": True,
                    "outputs": ["sentence_embedding"], "file": self.out,
                    "attachments": ["tokenizer", "vocabulary"]}
        self.assertEqual({key: report[key] for key in expected}, expected)
        self.assertEqual(report["file_bytes"], os.path.getsize(self.out))
        header, data = read_safetensors(self.file("model.safetensors"))
        unused = 2 * 32  # token types: one row is inside that of positions
        self.assertEqual(report["parameters"], len(data) // 4 - unused)
        nodes = {node["name"]: node for node in report["nodes"]}
        self.assertEqual(sum(node["parameters"] for node in report["nodes"]),
                         report["parameters"])
        for name in header:
            node = name.rpartition(".")[0]
            if "weight" in name and "token_type" not in name:
                self.assertIn(node, nodes)
        self.assertEqual(nodes["encoder.layer.1.attention"]["op"], "attention")
        info = self.succeed_json("info", self.out, "--verify")
        self.assertEqual([node["name"] for node in info["nodes"]], list(nodes))
        self.assertEqual(info["parameters"], report["parameters"])

    def test_text(self):
        result = self.succeed("convert", self.source, "-o", self.out)
        self.assertIn("layers 2", result.stdout)
        self.assertIn("sentence_embedding: mean, normalized", result.stdout)
        self.assertIn("wrote " + self.out, result.stderr)

    def test_the_same_bytes_each_time(self):
        self.convert()
        first = self.read_bytes(self.out)
        self.convert("--threads", "2")
        self.assertEqual(self.read_bytes(self.out), first)

    def test_outputs(self):
        for output, names in [("sentence", ["sentence_embedding"]),
                              ("tokens", ["last_hidden_state"]),
                              ("both", ["last_hidden_state", "sentence_embedding"])]:
            report = self.convert("--output", output)
            self.assertEqual(report["outputs"], names)
            self.assertEqual(report["pooling"], None if output == "tokens" else "mean")
            self.assertEqual(report["normalize"], output != "tokens")

    def test_pooling(self):
        for pooling in ("mean", "cls", "max"):
            self.assertEqual(self.convert("--pooling", pooling)["pooling"], pooling)
        message = self.fail_with(3, "convert", self.source, "-o", self.out, "--pooling", "pooler")
        self.assertIn("'pooler.dense.weight'", message)
        old = self.copy("old")
        report = self.convert("--pooling", "pooler", source=old)
        self.assertEqual(report["pooling"], "pooler")
        self.assertIn("pooler.dense", [node["name"] for node in report["nodes"]])

    def test_without_modules(self):
        result = self.succeed("convert", self.copy("old"), "-o", self.out)
        self.assertIn("no modules.json", result.stderr)
        self.assertIn("sentence_embedding: mean\n", result.stdout)

    def test_a_folder_of_modules_with_the_encoder_in_one_of_them(self):
        inner = self.file("0_Transformer")
        os.mkdir(inner)
        for name in os.listdir(self.source):
            if os.path.isfile(self.file(name)) and name != "modules.json":
                os.rename(self.file(name), os.path.join(inner, name))
        with open(self.file("modules.json"), encoding="utf-8") as file:
            modules = json.load(file)
        modules[0]["path"] = "0_Transformer"
        self.write_text("modules.json", json.dumps(modules))
        self.assertEqual(self.convert()["max_tokens"], 72)

    def test_one_way_of_pooling_by_its_name(self):
        self.write_text("1_Pooling/config.json",
                        json.dumps({"embedding_dimension": 32, "pooling_mode": "cls",
                                    "include_prompt": True}))
        self.assertEqual(self.convert()["pooling"], "cls")


class Tokenizer(ConvertTest):
    def tokenizer(self):
        return json.loads(self.attachment("tokenizer"))

    def test_vocabulary_and_settings(self):
        self.convert()
        self.assertEqual(self.attachment("vocabulary"), self.read_bytes(self.file("vocab.txt")))
        self.assertEqual(self.attachment("tokenizer").decode(),
                         '{"type":"wordpiece","lower_case":true,"strip_accents":null,'
                         '"chinese_spaces":true,"max_tokens":72,"unknown":"[UNK]","start":"[CLS]",'
                         '"end":"[SEP]","prefix":"##","max_word_characters":100}')

    def test_lines_end_in_one_way(self):
        self.convert()
        lines = self.attachment("vocabulary")
        self.convert(source=self.copy("old"))
        self.assertEqual(self.attachment("vocabulary"), lines)
        self.assertEqual(self.tokenizer()["max_tokens"], 24)

    def test_tokenizer_json_alone(self):
        self.convert()
        lines = self.attachment("vocabulary")
        self.convert(source=self.copy("distilbert"))
        self.assertEqual(self.attachment("vocabulary"), lines)
        tokenizer = self.tokenizer()
        self.assertEqual((tokenizer["lower_case"], tokenizer["strip_accents"],
                          tokenizer["chinese_spaces"], tokenizer["max_word_characters"]),
                         (False, True, False, 50))

    def test_tokenizer_json_wins(self):
        shutil.copy(os.path.join(GOLDEN, "distilbert", "tokenizer.json"), self.source)
        self.convert()
        self.assertFalse(self.tokenizer()["lower_case"])

    def test_vocabularies_that_differ(self):
        """vocab.txt beside tokenizer.json: the same ids, or an error that names a token."""
        with open(os.path.join(GOLDEN, "distilbert", "tokenizer.json"), encoding="utf-8") as file:
            text = file.read()
        words = json.loads(text)["model"]["vocab"]
        order = sorted(words, key=words.get)
        for change, token in [({order[7]: 8, order[8]: 7}, order[7]),
                              ({order[-1]: None}, order[-1]), ({"extra": 80}, "extra"),
                              ({"extra": 3}, "extra"), ({order[9]: "9"}, order[9]),
                              ({order[9]: -1}, order[9]), ({order[9]: 1 << 40}, order[9])]:
            with self.subTest(change=change):
                content = json.loads(text)
                content["model"]["vocab"] = {
                    word: number for word, number in {**words, **change}.items()
                    if number is not None}
                self.write_text("tokenizer.json", json.dumps(content))
                self.refuse(self.file("vocab.txt"), "'%s'" % token, "tokenizer.json")
        self.write_text("tokenizer.json", text)
        self.write_text("vocab.txt", "\n".join(order[:-1]))
        self.refuse(self.file("vocab.txt"), "'%s'" % order[-1])
        content = json.loads(text)
        del content["model"]["vocab"][order[-1]]
        content["model"]["vocab"][order[40]] = len(order) - 1  # twice: the last line counts
        self.write_text("tokenizer.json", json.dumps(content))
        self.write_text("vocab.txt", "\n".join(order[:-1] + [order[40]]))
        self.convert()

    def test_added_tokens(self):
        self.source = self.copy("distilbert")
        with open(self.file("tokenizer.json"), encoding="utf-8") as file:
            content = json.load(file)
        cls = {"id": content["model"]["vocab"]["[CLS]"], "content": "[CLS]", "special": True}
        for token, reason in [(dict(cls, special=False), "'[CLS]' is not special"),
                              (dict(cls, content="[NEW]", id=80), "'[NEW]' is not in its"),
                              (dict(cls, id=70), "'[CLS]' is not in its"), ({}, "not special")]:
            self.change_json("tokenizer.json", "added_tokens", [cls, token])
            self.without_tokenizer(reason)
        self.change_json("tokenizer.json", "added_tokens", [cls])
        self.assertEqual(self.convert()["attachments"], ["tokenizer", "vocabulary"])

    def test_tokenizer_config(self):
        self.write_text("tokenizer_config.json",
                        json.dumps({"do_lower_case": False, "strip_accents": True,
                                    "tokenize_chinese_chars": False, "model_max_length": 30,
                                    "sep_token": {"content": "[MASK]"}}))
        self.convert()
        tokenizer = self.tokenizer()
        self.assertEqual((tokenizer["lower_case"], tokenizer["strip_accents"],
                          tokenizer["chinese_spaces"], tokenizer["end"], tokenizer["max_tokens"]),
                         (False, True, False, "[MASK]", 72))
        os.remove(self.file("sentence_bert_config.json"))
        self.assertEqual(self.convert()["max_tokens"], 30)
        self.change_json("tokenizer_config.json", "model_max_length", 1e30)
        self.assertEqual(self.convert()["max_tokens"], 80)

    def test_lower_case_before_the_tokenizer(self):
        self.change_json("tokenizer_config.json", "do_lower_case", False)
        self.change_json("sentence_bert_config.json", "do_lower_case", True)
        self.convert()
        tokenizer = self.tokenizer()
        self.assertEqual((tokenizer["lower_case"], tokenizer["strip_accents"]), (True, False))

    def without_tokenizer(self, reason):
        result = self.succeed("convert", self.source, "-o", self.out)
        lines = [line for line in result.stderr.splitlines() if "no tokenizer" in line]
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertIn(reason, lines[0])
        self.assertIn("tokenizer: none", result.stdout)
        self.assertNotIn("attachment/vocabulary", read_safetensors(self.out)[0])

    def test_other_tokenizers_are_left_out(self):
        whole = os.path.join(GOLDEN, "distilbert", "tokenizer.json")
        with open(whole, encoding="utf-8") as file:
            content = json.load(file)
        for key, value, reason in [("model", {"type": "BPE"}, "BPE"), ("model", 5, "WordPiece"),
                                   ("normalizer", None, "split"),
                                   ("pre_tokenizer", {"type": "Whitespace"}, "split"),
                                   ("post_processor", None, "post_processor")]:
            with self.subTest(key=key, value=value):
                self.write_text("tokenizer.json", json.dumps(dict(content, **{key: value})))
                self.without_tokenizer(reason)
        os.remove(self.file("tokenizer.json"))
        self.change_json("tokenizer_config.json", "tokenizer_class", "BertJapaneseTokenizer")
        self.without_tokenizer("BertJapaneseTokenizer")
        self.change_json("tokenizer_config.json", "tokenizer_class", "BertTokenizer")
        self.convert()
        os.remove(self.file("vocab.txt"))
        self.without_tokenizer("neither")

    def test_bad_vocabularies(self):
        with open(self.file("vocab.txt"), encoding="utf-8") as file:
            lines = file.read().splitlines()
        path = self.file("vocab.txt")
        for token in ("[UNK]", "[CLS]", "[SEP]"):
            self.write_text("vocab.txt", "\n".join(line for line in lines if line != token))
            self.refuse(path, "'%s'" % token)
        self.write_text("vocab.txt", "\n".join(lines + ["more"]))
        self.refuse(path, "81 tokens", "'vocab_size' is 80")
        self.write_text("vocab.txt", "\n".join(lines) + "\0")
        self.refuse(path, "zero byte")
        self.write_bytes(path, "\n".join(lines).encode().replace(b"\n", b"\xff\n", 1))
        self.refuse(path, "not UTF-8")
        self.write_text("vocab.txt", "")
        self.refuse(path, "'[UNK]'")
        os.remove(path)
        os.mkdir(path)
        self.refuse(path, code=4)

    def test_bad_files(self):
        for name, text, expected in [
                ("tokenizer.json", "{", "line 1"),
                ("tokenizer_config.json", '{"do_lower_case": 1}', "'do_lower_case' is 1"),
                ("tokenizer_config.json", '{"strip_accents": "no"}', "'strip_accents'"),
                ("sentence_bert_config.json", '{"max_seq_length": 0}', "'max_seq_length' is 0"),
                ("sentence_bert_config.json", '{"max_seq_length": 1}', "'max_seq_length' is 1"),
                ("sentence_bert_config.json", '{"max_seq_length": "a"}', "'max_seq_length'")]:
            with self.subTest(name=name, text=text):
                self.source = self.copy("bert")
                self.write_text(name, text)
                self.refuse(self.file(name), expected)

    def test_bad_ids(self):
        self.source = self.copy("distilbert")
        with open(self.file("tokenizer.json"), encoding="utf-8") as file:
            content = json.load(file)
        vocabulary = content["model"]["vocab"]
        for value in (-1, 80, 3, "7", 1.5, 10 ** 18):
            vocabulary["z"] = value
            self.write_text("tokenizer.json", json.dumps(content))
            self.refuse(self.file("tokenizer.json"), "'")
        content["model"]["vocab"] = {}
        self.write_text("tokenizer.json", json.dumps(content))
        self.refuse(self.file("tokenizer.json"), "'[UNK]'")
        content["model"]["vocab"] = vocabulary
        for value in (0, -1, 1001, 10000, 2.5, "100"):
            content["model"]["max_input_chars_per_word"] = value
            self.write_text("tokenizer.json", json.dumps(content))
            self.refuse(self.file("tokenizer.json"), "'max_input_chars_per_word' is",
                        "from 1 to 1000")


class Config(ConvertTest):
    def test_values_that_cannot_be(self):
        cases = [("model_type", value) for value in ("t5", 5, MISSING)]
        for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                    "intermediate_size", "max_position_embeddings", "type_vocab_size"):
            cases += [(key, value) for value in (0, -1, 1 << 62, 1.5, "1", None, MISSING)]
        cases += [("num_attention_heads", 5), ("num_attention_heads", 64),
                  ("hidden_act", "swish"), ("hidden_act", MISSING), ("hidden_act", 1),
                  ("layer_norm_eps", 0), ("layer_norm_eps", -1e-12), ("layer_norm_eps", "1e-12"),
                  ("layer_norm_eps", 2), ("layer_norm_eps", 1e-300), ("position_embedding_type", "relative_key"),
                  ("position_embedding_type", 1), ("is_decoder", True),
                  ("add_cross_attention", True), ("quantization_config", {"bits": 8}),
                  ("rope_scaling", {"type": "linear"}), ("auto_map", {"AutoModel": "x.y"}),
                  ("pruned_heads", {"0": [1]}), ("never_heard_of", 0)]
        original = self.read_bytes(self.file("config.json"))
        for key, value in cases:
            with self.subTest(key=key, value=value):
                self.change_json("config.json", key, value)
                self.refuse(self.file("config.json"), "'%s'" % key)
                self.write_bytes(self.file("config.json"), original)

    def test_values_that_change_nothing(self):
        for key, value in [("is_decoder", False), ("pruned_heads", {}), ("rope_scaling", None),
                           ("id2label", {"0": "a"}), ("torch_dtype", "float32"),
                           ("hidden_dropout_prob", 0.5), ("position_embedding_type", None)]:
            self.change_json("config.json", key, value)
        self.convert()

    def test_sizes_that_the_weights_do_not_have(self):
        for key, value, tensor in [
                ("vocab_size", 100, "embeddings.word_embeddings.weight"),
                ("hidden_size", 64, "embeddings.word_embeddings.weight"),
                ("max_position_embeddings", 81, "embeddings.position_embeddings.weight"),
                ("type_vocab_size", 1, "embeddings.token_type_embeddings.weight"),
                ("num_hidden_layers", 3, "encoder.layer.2.attention.self.query.weight"),
                ("intermediate_size", 47, "encoder.layer.0.intermediate.dense.weight")]:
            with self.subTest(key):
                self.source = self.copy("bert")
                os.remove(self.file("modules.json"))
                self.change_json("config.json", key, value)
                self.refuse(self.file("model.safetensors"), "'%s'" % tensor, "config.json")

    def test_positions_of_roberta(self):
        self.source = self.copy("roberta")
        self.assertEqual(self.convert()["max_tokens"], 20)
        os.remove(self.out)
        for value in (-1, 21, "1", None):
            self.change_json("config.json", "pad_token_id", value)
            self.refuse(self.file("config.json"), "'pad_token_id'")

    def test_not_json(self):
        for text, expected in [("", "line 1"), ("{", "line 1"), ("[]", "object"), ("7", "line 1"),
                               ('{"a": 1, "a": 2}', "duplicate"), ("[" * 100000, "depth"),
                               ('{"a\\u0000": 1}', "NUL"), ("\udcff".encode("utf-8",
                               "surrogateescape").decode("latin-1"), "line 1")]:
            with self.subTest(text[:20]):
                self.write_text("config.json", text)
                self.refuse(self.file("config.json"), expected)

    def test_no_model_at_all(self):
        os.remove(self.file("config.json"))
        self.refuse(self.source, "config.json")
        self.source = self.path("none")
        self.refuse(self.source, code=4)
        self.source = self.model
        self.refuse(self.source, "not a folder")

    def test_modules(self):
        transformer, pooling, normalize = (
            {"type": "a.b." + name, "path": path} for name, path in
            [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")])
        for modules in ([transformer], [transformer, pooling, dict(normalize, type="a.Dense")],
                        [pooling, transformer], [transformer, normalize],
                        [dict(transformer, path="../x"), pooling],
                        [transformer, dict(pooling, path="/etc")], [{}], [1], [],
                        [transformer, pooling, normalize, normalize]):
            with self.subTest(modules=modules):
                self.write_text("modules.json", json.dumps(modules))
                self.refuse(self.file("modules.json"))
        self.write_text("modules.json", json.dumps([transformer]))
        self.refuse(self.file("modules.json"), "there is no Pooling: dynq converts")
        self.write_text("modules.json", json.dumps([transformer, pooling]))
        self.assertFalse(self.convert()["normalize"])

    def test_poolings(self):
        path = self.file("1_Pooling/config.json")
        for key, value in [("pooling_mode_max_tokens", True),
                           ("pooling_mode_mean_sqrt_len_tokens", True),
                           ("pooling_mode_lasttoken", True), ("pooling_mode_cls_token", 1),
                           ("word_embedding_dimension", 31), ("pooling_mode", "mean"),
                           ("pooling_mode", "other"), ("never_heard_of", False)]:
            with self.subTest(key=key):
                before = self.read_bytes(path)
                self.change_json("1_Pooling/config.json", key, value)
                self.refuse(path, "'")
                self.write_bytes(path, before)
        self.change_json("1_Pooling/config.json", "pooling_mode_mean_tokens", False)
        self.refuse(path, "no way of pooling")
        os.remove(path)
        self.refuse(path, "is missing")


class Weights(ConvertTest):
    def change_tensor(self, name, change):
        """Calls change(header, entry, data) and writes what it returns."""
        path = self.file("model.safetensors")
        header, data = read_safetensors(path)
        data = bytearray(data)
        change(header, header[name], data)
        write_safetensors(path, header, bytes(data))
        return path

    def test_truncated(self):
        path = self.file("model.safetensors")
        content = self.read_bytes(path)
        for length in (0, 7, 8, 100, len(content) // 2, len(content) - 1):
            self.write_bytes(path, content[:length])
            self.refuse(path)
        self.write_bytes(path, content + b"\0")
        self.refuse(path)

    def test_a_missing_tensor(self):
        def rename(header, entry, _):
            header["other"] = entry
            del header[QUERY]
        self.refuse(self.change_tensor(QUERY, rename), "'%s'" % QUERY)

    def test_a_misshapen_tensor(self):
        def reshape(_, entry, __):
            entry["shape"] = [16, 64]
        self.refuse(self.change_tensor(QUERY, reshape), "'%s'" % QUERY, "[16, 64]", "[32, 32]")

    def test_a_tensor_that_is_not_of_floats(self):
        def retype(_, entry, __):
            entry["dtype"] = "I32"
        self.refuse(self.change_tensor(QUERY, retype), "'%s'" % QUERY, "I32")

    def test_a_weight_that_is_not_a_number(self):
        def spoil(_, entry, data):
            begin = entry["data_offsets"][0]
            data[begin + 4:begin + 8] = struct.pack("<f", float("nan"))
        self.change_tensor(QUERY, spoil)
        self.refuse(self.source, "encoder.layer.1.attention.self.query", "NaN")

    def test_two_encoders(self):
        def double(header, _, data):
            size = len(data)
            header["second.embeddings.word_embeddings.weight"] = {
                "dtype": "F32", "shape": [1], "data_offsets": [size, size + 4]}
            data += b"\0\0\0\0"
        self.refuse(self.change_tensor(QUERY, double), "two encoders")

    def test_no_weights(self):
        os.remove(self.file("model.safetensors"))
        self.refuse(self.source, "model.safetensors")
        self.write_text("pytorch_model.bin", "anything")
        self.refuse(self.source, "pytorch_model.bin", "save_pretrained")

    def test_parts(self):
        self.source = self.copy("distilbert")
        index = "model.safetensors.index.json"
        self.convert()
        os.remove(self.out)
        part = self.file("model-00002-of-00002.safetensors")
        content = self.read_bytes(part)
        os.remove(part)
        self.refuse(part, code=4)
        self.write_bytes(part, content[:-1])
        self.refuse(part)
        self.write_bytes(part, content)
        for value in ({"weight_map": {"a": "../x"}}, {"weight_map": {"a": 1}}, {"weight_map": {}},
                      {}, []):
            self.write_text(index, json.dumps(value))
            self.refuse(self.file(index))
        self.write_text(index, json.dumps({"weight_map": {"a": os.path.basename(part)}}))
        self.refuse("embeddings.word_embeddings.weight")

    def test_unwritable_output(self):
        for out in (self.path("none/model"), self.folder):
            message = self.fail_with(4, "convert", self.source, "-o", out)
            self.assertIn(out, message)


if __name__ == "__main__":
    unittest.main()
