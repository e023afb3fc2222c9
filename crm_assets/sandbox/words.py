"""The words that made-up records consist of. Nobody here exists; mail domains end in `.example`."""

from typing import NamedTuple
from unicodedata import normalize


class Name(NamedTuple):
    """A name as its bearer writes it, and as an e-mail address does."""

    written: str
    plain: str


class Place(NamedTuple):
    """Where some people live: their names, towns and telephone code, and what a company is there."""

    first: tuple[Name, ...]
    last: tuple[Name, ...]
    towns: tuple[str, ...]
    country: str
    dial: str
    company: str


def _name(word: str) -> Name:
    written, _, plain = word.partition("/")
    folded = normalize("NFKD", plain or written).encode("ascii", "ignore").decode().lower()
    return Name(written.replace("_", " "), "".join(filter(str.isalnum, folded)))


def _names(words: str) -> tuple[Name, ...]:
    return tuple(map(_name, words.split()))


def _place(first: str, last: str, towns: str, country: str, dial: str, company: str) -> Place:
    return Place(_names(first), _names(last), tuple(towns.split(", ")), country, dial, company)


PLACES = (
    _place(
        "Oliver Amelia George Isla Harry Ava Jack Emily Charlie Sophie Thomas Grace",
        "Smith Jones Taylor Brown Williams Wilson Davies O'Brien Evans Walker Wright MacLeod",
        "London, Leeds, Cardiff, Edinburgh, Bristol",
        "United Kingdom",
        "+44 20",
        "{} Ltd",
    ),
    _place(
        "James Mary Robert Patricia Michael Jennifer David Linda José Elizabeth Tyrone Susan",
        "Johnson Miller García Davis Rodríguez Martínez Anderson Thomas Jackson White Harris Nguyễn/nguyen",
        "Austin, Portland, Boston, San José, Chicago",
        "United States",
        "+1 512",
        "{} Inc.",
    ),
    _place(
        "Jürgen/juergen Anna Lukas Käthe/kaethe Max Sophie Björn/bjoern Hannah Jörg/joerg Lena Felix Marie-Luise",
        "Müller/mueller Schmidt Schröder/schroeder Groß/gross Fischer Weber Köhler/koehler Wagner von_Bülow/vonbuelow",
        "Berlin, München, Köln, Düsseldorf, Leipzig",
        "Deutschland",
        "+49 30",
        "{} GmbH",
    ),
    _place(
        "Zoé Léa Théo François Chloé Hélène Noël Élodie Benoît Camille Jérôme Inès",
        "Lefèvre Martin Bernard Dubois Moreau Château Béranger Girard Lacroix D'Arc Roux Gauthier",
        "Paris, Lyon, Orléans, Besançon, Nîmes",
        "France",
        "+33 1",
        "{} S.A.",
    ),
    _place(
        "Łukasz/lukasz Zofia Małgorzata/malgorzata Paweł/pawel Agnieszka Michał/michal Kasia Jiří Tereza Ondřej",
        "Wójcik/wojcik Kowalski Dąbrowska Zieliński/zielinski Nowák Dvořák Król/krol Wiśniewska Świątek Černý",
        "Łódź, Kraków, Gdańsk, Brno, Plzeň",
        "Polska",
        "+48 22",
        "{} Sp. z o.o.",
    ),
    _place(
        "Åsa/asa Søren/soeren Freja Bjørn/bjoern Ingrid Øystein/oeystein Linnéa Magnus Sólveig Päivi",
        "Ångström Jørgensen/joergensen Lindqvist Hansen Sørensen/soerensen Nygård Þórsdóttir/thorsdottir Virtanen",
        "Malmö, København, Tromsø, Reykjavík, Jyväskylä",
        "Sverige",
        "+46 40",
        "{} AB",
    ),
    _place(
        "Lucía Álvaro Begoña Íñigo João Inês Gonçalo Beatriz Andrés Núria",
        "Núñez Fernández Ibáñez Gonçalves Araújo Peña Muñoz Conceição Ortega Puig",
        "Málaga, A Coruña, Lisboa, Setúbal, Cádiz",
        "España",
        "+34 91",
        "{} S.L.",
    ),
    _place(
        "Ayşe/ayse Mehmet Çağla/cagla Emre Özlem/ozlem Barış/baris Ελένη/eleni Γιώργος/giorgos Νίκος/nikos",  # noqa: RUF001
        "Yılmaz/yilmaz Şahin/sahin Öztürk/ozturk Çelik/celik Παπαδόπουλος/papadopoulos Νικολάου/nikolaou",  # noqa: RUF001
        "İstanbul, İzmir, Αθήνα, Θεσσαλονίκη, Muğla",
        "Türkiye",
        "+90 212",
        "{} A.Ş.",
    ),
    _place(
        "伟/wei 芳/fang 秀英/xiuying 敏/min 静/jing 强/qiang 丽/li 雨桐/yutong",
        "王/wang 李/li 张/zhang 刘/liu 陈/chen 杨/yang 欧阳/ouyang 黄/huang",
        "上海, 北京, 深圳, 杭州, 成都",
        "中国",
        "+86 21",
        "{}有限公司",
    ),
    _place(
        "陽菜/hina 蓮/ren さくら/sakura 大輔/daisuke 結衣/yui 健太/kenta 지우/jiwoo 민준/minjun 서연/seoyeon",
        "佐藤/sato 鈴木/suzuki 高橋/takahashi 渡辺/watanabe 김/kim 박/park 이/lee 髙田/takada",
        "東京, 大阪, 横浜, 서울, 부산",
        "日本",
        "+81 3",
        "株式会社{}",
    ),
    _place(
        "Priya Arjun Ananya Rohan अनिका/anika विक्रम/vikram Lakshmi Siddharth Meera Farhan",
        "Sharma Patel Iyer Reddy Khan गुप्ता/gupta Banerjee Nair Singh Chatterjee",
        "Mumbai, Bengaluru, Chennai, नई दिल्ली, Pune",
        "India",
        "+91 22",
        "{} Pvt Ltd",
    ),
)
"""The places that contacts and companies come from."""

STEMS = _names(
    "Nordwind Bluebird Aurora Sierra Meridian Kestrel Lumière Grünwald/gruenwald Hokkaido Östra/oestra "
    "Kingfisher Montaña Pálinka Tulip Saffron Juniper Cobalt Atlas Harbor Orchid Polaris Brücke/bruecke "
    "Cedar Delta Ember Fjord Granite Heron Indigo Jade Lotus Maple 桜/sakura 龙/long Ω-Lab/omegalab Zephyr"
)
TRADES = _names(
    "Logistics Foods Software Energie Textiles Biotech Robotics Travel Média Consulting Optik Paper "
    "Finance Studios Maritime Pharma Solar Timber Ceramics Cycles"
)
ROADS = ("High Street", "Hauptstraße", "Rue de l'Église", "ul. Długa", "Calle Mayor", "中山路", "MG Road", "桜通り")
TITLES = (
    "CEO",
    "Head of Purchasing",
    "Geschäftsführerin",
    "Directeur des achats",
    "Engineer",
    "Office manager",
    "部長",
)
TAGS = ("customer", "lead", "newsletter", "VIP", "Messe 2024", "à rappeler", "partner", "churned", "日本語", "trial")
SOURCES = ("web form", "import", "API", "trade fair", "Empfehlung", "chat", "phone")
PRODUCTS = ("starter plan", "team licence", "annual support", "migration", "on-site training", "Wartung", "データ連携")
COLOURS = ("WHITE", "GREEN", "ORANGE", "RED", "BLUE", "YELLOW")
PHRASES = (
    "Asked for a call back next week.",
    "Wants an offer in writing, with the discount we talked about.",
    "Met at the fair; very interested in the integration.",
    "Rückruf vereinbart, bitte Unterlagen mitschicken.",
    "Préfère être contactée par e-mail.",
    "Budget is frozen until the new quarter.\nTry again then.",
    "Sent the contract; waiting for a signature ✍️",
    "次回の打ち合わせは来月です。",
    'Said: "the price is fine, the date is not".',
    "Invoice address has changed, see attachment.",
)
CHORES = ("Call", "Send the offer to", "Follow up with", "Prepare the demo for", "Nachfassen bei", "Visit", "Thank")
MEETINGS = ("Demo", "Kick-off", "Quarterly review", "Vertragsgespräch", "Lunch", "Contract signing", "打ち合わせ")
TROUBLES = (
    "Cannot log in since this morning",
    "Invoice shows the wrong amount",
    "Export to CSV breaks umlauts (ä, ö, ü)",
    "How do I add a second user?",
    "Passwort vergessen",
    "La page ne s'affiche plus",
    "Mobile app crashes on start 😟",
    "請求書について",
    "Sync with the calendar is late",
    "Please cancel our trial",
)
CAMPAIGNS = ("Welcome series", "Spring sale", "Win-back", "Onboarding", "Sommer-Aktion", "Product news", "Black Friday")
FILES = ("Offer", "Contract", "Rechnung", "NDA", "Présentation", "見積書", "Price list")
GROUPS = ("Support", "Billing", "Technik", "日本チーム")
