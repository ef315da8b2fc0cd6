"""Texts of two topics in other scripts than Latin, and two kinds of code."""

# By language: texts of one topic, then of another.
TEXTS = {
  "chinese": (
    (
      "黄河流过哪些省？\n黄河流过青海、甘肃和山东，流入渤海。",
      "长江有多长？\n长江长约六千三百公里，流入东海。",
      "哪条河流过武汉？\n长江流过武汉，汉江在那里流入长江。",
      "珠江流入哪里？\n珠江流过广州，流入南海。",
    ),
    (
      "三加四等于几？\n三加四等于七。",
      "九减五等于几？\n九减五等于四。",
      "六乘二等于几？\n六乘二等于十二。",
      "八除以四等于几？\n八除以四等于二。",
    ),
  ),
  "arabic": (
    (
      "أين يصب نهر النيل؟\nيصب نهر النيل في البحر المتوسط.",
      "ما طول نهر الفرات؟\nيبلغ طول نهر الفرات نحو ثلاثة آلاف كيلومتر.",
      "أين يصب نهر دجلة؟\nيصب نهر دجلة في شط العرب.",
      "أي نهر يمر ببغداد؟\nيمر نهر دجلة ببغداد.",
    ),
    (
      "كم حاصل جمع ثلاثة وأربعة؟\nحاصل الجمع سبعة.",
      "كم حاصل طرح خمسة من تسعة؟\nحاصل الطرح أربعة.",
      "كم حاصل ضرب ستة في اثنين؟\nحاصل الضرب اثنا عشر.",
      "كم حاصل قسمة ثمانية على أربعة؟\nحاصل القسمة اثنان.",
    ),
  ),
  "code": (
    (
      "def area(r):\n  return math.pi * r ** 2",
      "def circle(r):\n  return 2 * math.pi * r",
      "def ball(r):\n  return 4 / 3 * math.pi * r ** 3",
      "def ring(r, s):\n  return math.pi * (r ** 2 - s ** 2)",
    ),
    (
      "SELECT name FROM users\nWHERE age > 30 ORDER BY name;",
      "SELECT age FROM users\nWHERE name = 'Eva' ORDER BY age;",
      "SELECT city FROM users\nWHERE age < 20 ORDER BY city;",
      "SELECT name FROM users\nWHERE city = 'Rome' ORDER BY age;",
    ),
  ),
}
