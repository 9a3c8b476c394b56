"""The words that stories are made of: data only. Add a line to any list and the stories change."""

GIRLS = ["Mia", "Anna", "Lucy", "Nora", "Ella", "Rosa", "Ida", "Clara", "Maya", "Lena", "Ruth", "Tess"]
BOYS = ["Tom", "Ben", "Leo", "Max", "Finn", "Noah", "Paul", "Oscar", "Hugo", "Jack", "Adam", "Theo"]

ANIMALS = ["dog", "cat", "rabbit", "duck", "pony", "goat", "hen", "mouse", "owl", "fox", "lamb", "turtle"]
ANIMAL_NAMES = ["Pip", "Biscuit", "Bruno", "Luna", "Button", "Pepper", "Coco", "Nutty", "Daisy", "Snow"]

COLOURS = ["red", "blue", "green", "yellow", "white", "black", "orange", "purple", "brown", "pink"]
THINGS = ["ball", "kite", "hat", "boat", "book", "drum", "cup", "scarf", "lamp", "wagon", "umbrella", "apple"]
BUILT = ["boat", "kite", "wagon", "lamp", "drum", "swing", "basket", "bench"]  # things that a child could make or mend
FOODS = ["bread", "soup", "cake", "apples", "pears", "cookies", "berries", "pancakes"]

# A place, and where a small thing may lie there.
PLACES = [
    ("in the park", "under a bench"),
    ("in the garden", "behind the roses"),
    ("by the river", "between two stones"),
    ("in the forest", "under an old oak"),
    ("on the beach", "behind a rock"),
    ("at the farm", "in the hay"),
    ("on the hill", "beside the path"),
    ("in the village", "near the well"),
    ("by the lake", "in the tall grass"),
    ("at the market", "under a table"),
]
HOMES = ["a small house", "a white house", "a little cottage", "an old mill", "a house with a green door"]
FAMILY = ["mother", "father", "grandmother", "grandfather", "aunt", "uncle"]
TRAITS = ["kind", "curious", "brave", "quiet", "cheerful", "shy", "clever", "gentle"]
SKILLS = ["swim", "whistle", "ride a bike", "climb the tree", "skate", "sing the long song", "row the boat", "juggle"]
WEATHER = ["rain", "snow", "storm", "fog", "wind"]
